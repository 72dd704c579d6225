%% The records in which kafka_protocol's users give requests and get responses. Its own header has them too.
-ifndef(BROD_KAFKA_HRL).
-define(BROD_KAFKA_HRL, true).

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

-endif.
