%% What brod's own modules share. Not for users.
-ifndef(__BROD_INT_HRL).
-define(__BROD_INT_HRL, true).

-include("brod.hrl").
-include_lib("kernel/include/logger.hrl").

-record(cbm_init_data,
  { committed_offsets :: list()
  , cb_fun            :: fun()
  , cb_data           :: term()
  }).

-define(undef, undefined).

-define(OFFSET_EARLIEST, earliest).
-define(OFFSET_LATEST, latest).
-define(IS_SPECIAL_OFFSET(O), (O =:= ?OFFSET_EARLIEST orelse O =:= ?OFFSET_LATEST orelse
                               O =:= -2 orelse O =:= -1)).
-define(IS_ERROR(EC), ((EC) =/= no_error)).

-define(KV(Key, Value), {Key, Value}).
-define(TKV(Ts, Key, Value), {Ts, Key, Value}).

-define(acked, brod_produce_req_acked).
-define(buffered, brod_produce_req_buffered).

%% What processes have opened in the engine; public, owned by brod_sup. See brod_handles.
-define(BROD_HANDLES, brod_handles).

%% What has happened lately, and how often; public, owned by brod_sup. See brod_telemetry.
-define(BROD_JOURNAL, brod_journal).

%% The domain is brod's; what a line is about comes from brod_logging:about/1. See docs/adr/0020-log-lines.md.
%% A term that may be long is ~9999p or ~9999P: Elixir's Logger takes the 0 of ~0p for a width, and each element gets
%% a line of its own.
-define(BROD_LOG_DOMAIN, #{domain => [brod]}).
-define(BROD_LOG_WARNING(Fmt, Args), ?LOG_WARNING(Fmt, Args, ?BROD_LOG_DOMAIN)).
-define(BROD_LOG_ERROR(Fmt, Args), ?LOG_ERROR(Fmt, Args, ?BROD_LOG_DOMAIN)).
-define(BROD_LOG_INFO(Fmt, Args), ?LOG_INFO(Fmt, Args, ?BROD_LOG_DOMAIN)).
-define(BROD_LOG(Level, Fmt, Args), ?LOG(Level, Fmt, Args, ?BROD_LOG_DOMAIN)).

-define(MF_ERR_MAP(Reason), #{cause => Reason, module => ?MODULE, func => ?FUNCTION_NAME}).

-endif.
