%% A message, as brod.hrl has it: both files may be included, in either order.
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
