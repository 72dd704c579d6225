%% Records and macros that brod shares with its users. The file stands alone: it needs nothing of
%% kafka_protocol, and may be included together with kpro_public.hrl in either order.
-ifndef(__BROD_HRL).
-define(__BROD_HRL, true).

%% The guard is the one of kpro_public.hrl on purpose: whichever comes first defines the record.
-ifndef(KPRO_PUBLIC_HRL_).
-define(KPRO_PUBLIC_HRL_, true).

-record(kafka_message,
  { offset       :: integer()
  , key          :: binary()
  , value        :: binary()
  , ts_type      :: undefined | create | append
  , ts           :: undefined | integer()
  , headers = [] :: [{binary(), binary()}]
  }).

-endif.

-record(kafka_message_set,
  { topic          :: binary()
  , partition      :: non_neg_integer()
  , high_wm_offset :: integer()
  , messages       :: [#kafka_message{}] | {incomplete_batch, non_neg_integer()}
  }).

-record(kafka_fetch_error,
  { topic           :: binary()
  , partition       :: non_neg_integer()
  , error_code      :: atom() | integer()
  , error_desc = "" :: binary() | string()
  }).

-record(brod_call_ref,
  { caller :: undefined | pid()
  , callee :: undefined | pid()
  , ref    :: undefined | reference()
  }).

-record(brod_produce_reply,
  { call_ref    :: #brod_call_ref{}
  , base_offset :: undefined | integer()
  , result      :: brod_produce_req_buffered | brod_produce_req_acked | {error, term()}
  }).

-record(kafka_group_member_metadata,
  { version   :: non_neg_integer()
  , topics    :: [binary()]
  , user_data :: binary()
  }).

-record(brod_received_assignment,
  { topic        :: binary()
  , partition    :: non_neg_integer()
  , begin_offset :: undefined | integer() | earliest | latest | {begin_offset, term()}
  }).

-type brod_received_assignments() :: [#brod_received_assignment{}].

-type brod_partition_fun() :: fun((Topic :: binary(), PartitionsCount :: pos_integer(),
                                   Key :: term(), Value :: term()) ->
                                     {ok, Partition :: non_neg_integer()}).

-record(brod_cg,
  { id            :: binary()
  , protocol_type :: binary()
  }).

-define(BROD_DEFAULT_CLIENT_ID, brod_default_client).
-define(BROD_CONSUMER_GROUP_PROTOCOL_VERSION, 0).

%% Base offset of a reply when the broker did not tell one (required_acks = 0).
-define(BROD_PRODUCE_UNKNOWN_OFFSET, -1).

-define(BROD_FOLD_RET(Acc, NextOffset, Reason), {Acc, NextOffset, Reason}).

-define(BROD_DEFAULT_TIMEOUT, timer:seconds(5)).

-endif.
