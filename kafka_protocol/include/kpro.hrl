%% Requests and responses.
-ifndef(KPRO_HRL_).
-define(KPRO_HRL_, true).

-include("kpro_public.hrl").
-include("kpro_error_codes.hrl").

-record(kpro_req,
  { ref            :: reference()
  , api            :: atom()
  , vsn            :: non_neg_integer()
  , no_ack = false :: boolean()
  , msg            :: iodata() | map() | [{atom(), term()}]
  }).

-record(kpro_rsp,
  { ref :: false | reference()
  , api :: atom()
  , vsn :: non_neg_integer()
  , msg :: binary() | map()
  }).

-define(incomplete_batch(ExpectedSize), {incomplete_batch, ExpectedSize}).
-define(kpro_null, undefined).
-define(kpro_cg_no_assignment, ?kpro_null).
-define(kpro_cg_no_member_metadata, ?kpro_null).
-define(kpro_read_committed, read_committed).
-define(kpro_read_uncommitted, read_uncommitted).
-define(KPRO_NO_BATCH_META, undefined).

-endif.
