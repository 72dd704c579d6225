%% @private A supervisor whose children may be restarted after a delay instead of taking the supervisor down.
%%
%% It answers the calls of the `supervisor' module, and differs from it in this:
%% - Child specifications are 6-tuples; restart may also be `intrinsic' (as `transient', but when
%%   the child ends normally the supervisor ends too) and `{permanent | transient | intrinsic,
%%   DelaySeconds}': once the restart intensity is exceeded the child is restarted after the delay.
%% - The callback `init/1' may return `post_init': the supervisor is up at once, and asks
%%   `post_init/1' for its children afterwards, which may take its time.
-module(brod_supervisor3).
-behaviour(gen_server).

-export([start_link/2, start_link/3]).
-export([start_child/2, restart_child/2, terminate_child/2, delete_child/2, remove_child/2]).
-export([try_again_restart/3, is_child/0]).
-export([which_children/1, count_children/1, find_child/2, get_childspec/2, check_childspecs/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2,
         code_change/3, format_status/1]).

-export_type([child_spec/0, startchild_ret/0, strategy/0, sup_name/0]).

-include("brod_int.hrl").

-define(LONGEST_DELAY_MS, 16#ffffffff).

-type strategy() :: one_for_all | one_for_one | rest_for_one.
-type sup_name() :: {local, atom()} | {global, term()} | {via, module(), term()}.
-type sup_ref() :: atom() | {atom(), node()} | {global, term()} | {via, module(), term()} | pid().
-type child_id() :: term().
-type restart_base() :: permanent | transient | intrinsic.
-type restart() :: restart_base() | temporary | {restart_base(), DelaySeconds :: number()}.
-type shutdown() :: brutal_kill | timeout().
-type child_spec() :: {child_id(), {module(), atom(), [term()]}, restart(), shutdown(),
                       worker | supervisor, [module()] | dynamic}.
-type startchild_ret() :: {ok, pid() | undefined} | {ok, pid() | undefined, term()}
                        | {error, already_present | {already_started, pid()} | term()}.
-type flags() :: {strategy(), MaxRestarts :: non_neg_integer(), PeriodSeconds :: pos_integer()}.

-callback init(Args :: term()) -> {ok, {flags(), [child_spec()]}} | ignore | post_init.
-callback post_init(Args :: term()) ->
  {ok, {flags(), [child_spec()]}} | ignore | {error, Reason :: term()}.
%% What has ended all children at once, as far as this reason tells: one line then speaks for all of them. `told': the child has said so
%% itself.
-callback ends_all(Args :: term(), Reason :: term()) -> {Why :: term(), Line :: unicode:chardata()} | told | false.
%% A message that is not the supervisor's own, such as the exit signal of a process that is no child of it.
-callback told(Message :: term()) -> ok.
-optional_callbacks([post_init/1, ends_all/2, told/1]).

%% The record is part of start_child's error term.
-record(child, {pid, name, mfargs, restart_type, shutdown, child_type, modules}).

%% children: in the order of their start
-record(state, {name, module, args, strategy, max_r, max_t, restarts = [], children = []}).

%% @doc Start a supervisor without a name.
-spec start_link(module(), term()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Module, Args) ->
  gen_server:start_link(?MODULE, {self, Module, Args}, []).

%% @doc Start a supervisor under a name.
-spec start_link(sup_name(), module(), term()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Name, Module, Args) ->
  gen_server:start_link(Name, ?MODULE, {Name, Module, Args}, []).

%% @doc Add a child and start it.
-spec start_child(sup_ref(), child_spec()) -> startchild_ret().
start_child(Sup, ChildSpec) -> gen_server:call(Sup, {start_child, ChildSpec}, infinity).

%% @doc Start a child that was terminated.
-spec restart_child(sup_ref(), child_id()) ->
        startchild_ret() | {error, running | restarting | not_found}.
restart_child(Sup, Id) -> gen_server:call(Sup, {restart_child, Id}, infinity).

%% @doc Stop a child, also one that waits for its restart; its specification stays.
-spec terminate_child(sup_ref(), child_id()) -> ok | {error, not_found}.
terminate_child(Sup, Id) -> gen_server:call(Sup, {terminate_child, Id}, infinity).

%% @doc Remove the specification of a terminated child.
-spec delete_child(sup_ref(), child_id()) -> ok | {error, running | restarting | not_found}.
delete_child(Sup, Id) -> gen_server:call(Sup, {delete_child, Id}, infinity).

%% @doc Terminate a child, also one that waits for its restart, and forget it.
-spec remove_child(sup_ref(), child_id()) -> ok | {error, not_found}.
remove_child(Sup, Id) -> gen_server:call(Sup, {remove_child, Id}, infinity).

%% @doc As `supervisor:which_children/1'.
-spec which_children(sup_ref()) ->
        [{child_id(), pid() | undefined | restarting, worker | supervisor, [module()] | dynamic}].
which_children(Sup) -> gen_server:call(Sup, which_children, infinity).

%% @doc As `supervisor:count_children/1'.
-spec count_children(sup_ref()) -> [{specs | active | supervisors | workers, non_neg_integer()}].
count_children(Sup) -> gen_server:call(Sup, count_children, infinity).

%% @doc The pid of a running child in a list, else `[]'.
-spec find_child(sup_ref(), child_id()) -> [pid()].
find_child(Sup, Id) -> gen_server:call(Sup, {find_child, Id}, infinity).

%% @doc A child's specification.
-spec get_childspec(sup_ref(), child_id()) -> {ok, child_spec()} | {error, not_found}.
get_childspec(Sup, Id) -> gen_server:call(Sup, {get_childspec, Id}, infinity).

%% @doc Whether specifications are well-formed and have different ids.
-spec check_childspecs([child_spec()]) -> ok | {error, term()}.
check_childspecs(Specs) ->
  case make_children(Specs) of
    {ok, _} -> ok;
    {error, Reason} -> {error, Reason}
  end.

%% @doc Start a child again that is down and waits for it, without waiting any longer; `Reason' is why it is down.
-spec try_again_restart(sup_ref(), child_id(), Reason :: term()) -> ok.
try_again_restart(Sup, Id, _Reason) -> gen_server:cast(Sup, {try_again_restart, Id}).

%% @doc Whether the calling process is a child of such a supervisor.
-spec is_child() -> boolean().
is_child() ->
  case get('$ancestors') of
    [Parent | _] when is_pid(Parent) -> proc_lib:translate_initial_call(Parent) =:= {?MODULE, init, 1};
    _ -> false
  end.

%% gen_server

init({Name0, Module, Args}) ->
  process_flag(trap_exit, true),
  Name = case Name0 of self -> {self(), Module}; _ -> Name0 end,
  State = #state{name = Name, module = Module, args = Args},
  case Module:init(Args) of
    post_init -> {ok, State, {continue, post_init}};
    ignore -> ignore;
    {ok, {Flags, Specs}} -> init_children(Flags, Specs, State, fun(S) -> {ok, S} end);
    Other -> {stop, {bad_return, {Module, init, Other}}}
  end.

handle_continue(post_init, #state{module = Module, args = Args} = State) ->
  case Module:post_init(Args) of
    ignore -> {stop, normal, State};
    {error, Reason} -> {stop, Reason, State};
    {ok, {Flags, Specs}} ->
      case init_children(Flags, Specs, State, fun(S) -> {noreply, S} end) of
        {stop, Reason} -> {stop, Reason, State};
        NoReply -> NoReply
      end;
    Other -> {stop, {bad_return, {Module, post_init, Other}}, State}
  end.

init_children({Strategy, MaxR, MaxT}, Specs, State0, Ok)
  when Strategy =:= one_for_one orelse Strategy =:= one_for_all orelse Strategy =:= rest_for_one,
       is_integer(MaxR), MaxR >= 0, is_integer(MaxT), MaxT > 0 ->
  State = State0#state{strategy = Strategy, max_r = MaxR, max_t = MaxT},
  case make_children(Specs) of
    {ok, Children} ->
      case start_children(Children, []) of
        {ok, Started} ->
          Ok(State#state{children = Started});
        {error, #child{name = Name}, Reason, Started} ->
          _ = terminate_children(Started),
          {stop, {shutdown, {failed_to_start_child, Name, Reason}}}
      end;
    {error, Reason} ->
      {stop, {start_spec, Reason}}
  end;
init_children(Flags, _Specs, _State, _Ok) ->
  {stop, {supervisor_data, {invalid_flags, Flags}}}.

handle_call({start_child, Spec}, _From, State) ->
  case make_child(Spec) of
    {ok, Child} -> add_child(Child, State);
    {error, Reason} -> {reply, {error, Reason}, State}
  end;
handle_call(which_children, _From, #state{children = Children} = State) ->
  {reply, [{Name, public_pid(Pid), Type, Modules}
           || #child{pid = Pid, name = Name, child_type = Type, modules = Modules}
                <- lists:reverse(Children)], State};
handle_call(count_children, _From, #state{children = Children} = State) ->
  Count = fun(Pred) -> length(lists:filter(Pred, Children)) end,
  {reply, [{specs, length(Children)},
           {active, Count(fun(C) -> is_pid(C#child.pid) end)},
           {supervisors, Count(fun(C) -> C#child.child_type =:= supervisor end)},
           {workers, Count(fun(C) -> C#child.child_type =:= worker end)}], State};
handle_call({Request, Id}, _From, State)
  when Request =:= restart_child; Request =:= terminate_child; Request =:= delete_child;
       Request =:= find_child; Request =:= get_childspec; Request =:= remove_child ->
  Child = lists:keyfind(Id, #child.name, State#state.children),
  {Reply, NewState} = handle_child_call(Request, Child, State),
  {reply, Reply, NewState};
handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast({try_again_restart, Name}, State) ->
  restart_waiting(Name, State);
handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info({'EXIT', Pid, Reason}, #state{children = Children} = State) ->
  case lists:keyfind(Pid, #child.pid, Children) of
    false -> tell({'EXIT', Pid, Reason}, State);
    Child -> child_exited(Child, Reason, State)
  end;
handle_info({timeout, Timer, {delayed_restart, Name}}, #state{children = Children} = State) ->
  case lists:keyfind(Name, #child.name, Children) of
    #child{pid = {restarting, Timer}} -> restart_waiting(Name, State);
    _ -> {noreply, State}
  end;
handle_info(Info, State) ->
  tell(Info, State).

tell(Info, #state{module = Module} = State) ->
  ok = case erlang:function_exported(Module, told, 1) of
         true -> Module:told(Info);
         false -> ok
       end,
  {noreply, State}.

terminate(_Reason, #state{children = Children}) ->
  terminate_children(Children).

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% Without the arguments of children: options with secrets may be among them.
format_status(#{state := #state{name = Name, module = Module, children = Children}} = Status) ->
  Up = length([C || #child{pid = Pid} = C <- Children, is_pid(Pid)]),
  Status#{state := #{name => Name, module => Module, children => length(Children), up => Up}};
format_status(Status) ->
  Status.

%% requests

add_child(#child{name = Name} = Child, #state{children = Children} = State) ->
  case lists:keyfind(Name, #child.name, Children) of
    #child{pid = Pid} when is_pid(Pid) ->
      {reply, {error, {already_started, Pid}}, State};
    #child{} ->
      {reply, {error, already_present}, State};
    false ->
      case start_one(Child) of
        {error, Reason} ->
          {reply, {error, {Reason, Child}}, State};
        {Started, Reply} ->
          Keep = not (Reply =:= {ok, undefined} andalso Child#child.restart_type =:= temporary),
          {reply, Reply, State#state{children = Children ++ [Started || Keep]}}
      end
  end.

handle_child_call(find_child, #child{pid = Pid}, State) when is_pid(Pid) -> {[Pid], State};
handle_child_call(find_child, _, State) -> {[], State};
handle_child_call(_Request, false, State) -> {{error, not_found}, State};
handle_child_call(get_childspec, Child, State) -> {{ok, to_spec(Child)}, State};
handle_child_call(terminate_child, Child, State) ->
  Stopped = terminate_one(Child),
  case Stopped#child.restart_type of
    temporary -> {ok, remove(Stopped, State)};
    _ -> {ok, store(Stopped, State)}
  end;
handle_child_call(remove_child, Child, State) ->
  {ok, remove(terminate_one(Child), State)};
handle_child_call(_Request, #child{pid = Pid}, State) when is_pid(Pid) ->
  {{error, running}, State};
handle_child_call(_Request, #child{pid = {restarting, _}}, State) ->
  {{error, restarting}, State};
handle_child_call(delete_child, Child, State) ->
  {ok, remove(Child, State)};
handle_child_call(restart_child, Child, State) ->
  case start_one(Child) of
    {error, Reason} -> {{error, Reason}, State};
    {Started, Reply} -> {Reply, store(Started, State)}
  end.

%% restarts

child_exited(#child{restart_type = Type, name = Name} = Child, Reason, State) ->
  Stopped = Child#child{pid = undefined},
  Normal = brod_utils:is_normal_reason(Reason),
  case base(Type) of
    temporary -> {noreply, remove(Stopped, State)};
    transient when Normal -> {noreply, store(Stopped, State)};
    intrinsic when Normal -> {stop, shutdown, store(Stopped, State)};
    _ ->
      Normal orelse tell_of_end(Name, Reason, State),
      restart(Stopped, State)
  end.

%% A producer or consumer that ends again and again for one reason, which it has told itself, is told once a minute.
tell_of_end(Name, Reason, State) ->
  {Due, Line} = case ends_all(Reason, State) of
                  {Why, Words} -> {brod_trouble:fails(?MODULE, Why), Words};
                  told -> {quiet, ""};
                  false -> {repeated(Name, Reason), io_lib:format("~p: child ~p stopped: ~0p", [State#state.name, Name, Reason])}
                end,
  case Due of
    {tell, Untold} -> ?BROD_LOG_ERROR("~ts~ts", [Line, brod_trouble:before(Untold, "time")]);
    quiet -> ok
  end.

ends_all(Reason, #state{module = Module, args = Args}) ->
  erlang:function_exported(Module, ends_all, 2) andalso Module:ends_all(Args, Reason).

repeated(Name, {restart, Code}) ->
  brod_trouble:fails({?MODULE, Name}, Code);
repeated(Name, {not_retriable, _}) ->
  brod_trouble:fails({?MODULE, Name}, not_retriable);
repeated(_Name, _Reason) ->
  {tell, 0}.

restart(#child{restart_type = Type, name = Name} = Child, State0) ->
  case {add_restart(State0), Type} of
    {{ok, State}, _} ->
      start_with_siblings(Child, State);
    {{exceeded, State}, {_, DelaySeconds}} ->
      {noreply, store(Child#child{pid = {restarting, restart_timer(DelaySeconds, Name)}}, State)};
    {{exceeded, State}, _} ->
      ?BROD_LOG_ERROR("~p: too many restarts of child ~p, shutting down", [State#state.name, Name]),
      {stop, shutdown, store(Child, State)}
  end.

restart_waiting(Name, #state{children = Children} = State) ->
  case lists:keyfind(Name, #child.name, Children) of
    #child{pid = {restarting, _}} = Child -> start_with_siblings(Child, State);
    _ -> {noreply, State}
  end.

%% Start a child that is down, and those that the strategy restarts together with it.
start_with_siblings(#child{name = Name}, State) ->
  #state{strategy = Strategy, children = Children} = State,
  IsOther = fun(C) -> C#child.name =/= Name end,
  {Keep, Again} =
    case Strategy of
      one_for_one ->
        {lists:filter(IsOther, Children), [lists:keyfind(Name, #child.name, Children)]};
      rest_for_one ->
        lists:splitwith(IsOther, Children);
      one_for_all ->
        {[], Children}
    end,
  Stopped = terminate_children(Again),
  Order = fun(L) -> in_order_of(Children, L) end,
  case start_children([C || C <- Stopped, C#child.restart_type =/= temporary], Keep) of
    {ok, Started} ->
      {noreply, State#state{children = Order(Started)}};
    {error, #child{name = FailedName} = Failed, Reason, Rest} ->
      ?BROD_LOG_ERROR("~p: child ~p failed to start: ~9999p", [State#state.name, FailedName, Reason]),
      restart_failed(Failed, State#state{children = Order(Rest)})
  end.

%% A start that fails counts as a restart, and the next one has to wait its turn in the mailbox.
restart_failed(#child{name = Name, restart_type = Type} = Failed, State0) ->
  case {add_restart(State0), Type} of
    {{ok, State}, _} ->
      gen_server:cast(self(), {try_again_restart, Name}),
      {noreply, store(Failed#child{pid = {restarting, undefined}}, State)};
    {{exceeded, State}, {_, DelaySeconds}} ->
      {noreply, store(Failed#child{pid = {restarting, restart_timer(DelaySeconds, Name)}}, State)};
    {{exceeded, State}, _} ->
      {stop, shutdown, store(Failed, State)}
  end.

%% A delay that no timer takes must not take the other children down.
restart_timer(DelaySeconds, Name) ->
  Ms = min(round(DelaySeconds * 1000), ?LONGEST_DELAY_MS),
  erlang:start_timer(Ms, self(), {delayed_restart, Name}).

add_restart(#state{restarts = Restarts, max_r = MaxR, max_t = MaxT} = State) ->
  Now = erlang:monotonic_time(millisecond),
  Recent = [Now | [T || T <- Restarts, Now - T =< MaxT * 1000]],
  case length(Recent) > MaxR of
    true -> {exceeded, State#state{restarts = tl(Recent)}};
    false -> {ok, State#state{restarts = Recent}}
  end.

%% children

%% `Done' are children that stay as they are. On an error the ones that were not started follow, as
%% stopped children.
start_children([], Done) ->
  {ok, Done};
start_children([Child | Rest], Done) ->
  case start_one(Child) of
    {error, Reason} -> {error, Child, Reason, Done ++ [Child | Rest]};
    {Started, _Reply} -> start_children(Rest, Done ++ [Started])
  end.

start_one(#child{mfargs = {M, F, Args}} = Child) ->
  try apply(M, F, Args) of
    {ok, Pid} when is_pid(Pid) -> {Child#child{pid = Pid}, {ok, Pid}};
    {ok, Pid, Info} when is_pid(Pid) -> {Child#child{pid = Pid}, {ok, Pid, Info}};
    ignore -> {Child#child{pid = undefined}, {ok, undefined}};
    {error, Reason} -> {error, Reason};
    Other -> {error, {bad_return, Other}}
  catch
    Class:Reason:Stack -> {error, {'EXIT', {Class, Reason, Stack}}}
  end.

%% The last one that was started goes first.
terminate_children(Children) ->
  lists:reverse([terminate_one(C) || C <- lists:reverse(Children)]).

terminate_one(#child{pid = {restarting, Timer}} = Child) ->
  is_reference(Timer) andalso erlang:cancel_timer(Timer),
  Child#child{pid = undefined};
terminate_one(#child{pid = Pid, shutdown = Shutdown} = Child) when is_pid(Pid) ->
  MRef = monitor(process, Pid),
  unlink(Pid),
  receive {'EXIT', Pid, _} -> ok after 0 -> ok end,
  {Signal, Timeout} = case Shutdown of
                        brutal_kill -> {kill, infinity};
                        _ -> {shutdown, Shutdown}
                      end,
  exit(Pid, Signal),
  receive
    {'DOWN', MRef, process, Pid, _} -> ok
  after Timeout ->
    exit(Pid, kill),
    receive {'DOWN', MRef, process, Pid, _} -> ok end
  end,
  Child#child{pid = undefined};
terminate_one(Child) ->
  Child.

store(#child{name = Name} = Child, #state{children = Children} = State) ->
  State#state{children = lists:keyreplace(Name, #child.name, Children, Child)}.

remove(#child{name = Name}, #state{children = Children} = State) ->
  State#state{children = lists:keydelete(Name, #child.name, Children)}.

in_order_of(Order, Children) ->
  [C || #child{name = Name} <- Order, C <- [lists:keyfind(Name, #child.name, Children)],
        C =/= false].

public_pid({restarting, _}) -> restarting;
public_pid(Pid) -> Pid.

base({Type, _Delay}) -> Type;
base(Type) -> Type.

%% specifications

make_children(Specs) when is_list(Specs) ->
  lists:foldl(fun(_, {error, Reason}) -> {error, Reason};
                 (Spec, {ok, Acc}) -> add_made(make_child(Spec), Acc)
              end, {ok, []}, Specs);
make_children(Specs) ->
  {error, {invalid_child_specs, Specs}}.

add_made({error, Reason}, _Acc) -> {error, Reason};
add_made({ok, #child{name = Name} = Child}, Acc) ->
  case lists:keymember(Name, #child.name, Acc) of
    true -> {error, {duplicate_child_name, Name}};
    false -> {ok, Acc ++ [Child]}
  end.

make_child({Name, {M, F, A} = MFA, Restart, Shutdown, Type, Modules})
  when is_atom(M), is_atom(F), is_list(A), Type =:= worker orelse Type =:= supervisor,
       Modules =:= dynamic orelse is_list(Modules) ->
  case {is_restart(Restart), is_shutdown(Shutdown)} of
    {true, true} ->
      {ok, #child{name = Name, mfargs = MFA, restart_type = Restart, shutdown = Shutdown,
                  child_type = Type, modules = Modules}};
    {false, _} -> {error, {invalid_restart_type, Restart}};
    {_, false} -> {error, {invalid_shutdown, Shutdown}}
  end;
make_child(Spec) ->
  {error, {invalid_child_spec, Spec}}.

is_restart({Type, Delay}) -> is_number(Delay) andalso Delay >= 0 andalso is_base(Type);
is_restart(Type) -> Type =:= temporary orelse is_base(Type).

is_base(Type) -> lists:member(Type, [permanent, transient, intrinsic]).

is_shutdown(Shutdown) ->
  Shutdown =:= brutal_kill orelse Shutdown =:= infinity
    orelse (is_integer(Shutdown) andalso Shutdown >= 0).

to_spec(#child{name = Name, mfargs = MFA, restart_type = Restart, shutdown = Shutdown,
               child_type = Type, modules = Modules}) ->
  {Name, MFA, Restart, Shutdown, Type, Modules}.
