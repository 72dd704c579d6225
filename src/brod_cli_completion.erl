%% @private `brod completion SHELL': what completes commands, what they do and their options in a shell.
-module(brod_cli_completion).

-export([script/1]).

%% Options whose values are files.
-define(FILES, ["config", "to-config", "cacert", "cert", "key"]).

%% @doc The script for a shell.
-spec script(Shell :: string()) -> unicode:chardata() | unknown.
script("bash") ->
  ["_brod() {\n  local words\n  COMPREPLY=()\n",
   "  case \"${COMP_WORDS[COMP_CWORD - 1]}\" in ", files(), ") return ;; esac\n",
   "  case \"${COMP_WORDS[1]}\" in\n",
   [["    ", Name, ") words=\"", Words, "\" ;;\n"] || {Name, Words} <- options()],
   "  esac\n",
   "  [ \"$COMP_CWORD\" = 2 ] && case \"${COMP_WORDS[1]}\" in\n",
   [["    ", Name, ") words=\"", Words, " $words\" ;;\n"] || {Name, Words} <- actions()],
   "  esac\n",
   "  [ \"$COMP_CWORD\" = 1 ] && words=\"", names(), "\"\n",
   "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -o default -F _brod brod\n"];
%% In a file _brod of the function path it is loaded when it is first needed; read by a .zshrc it registers itself.
script("zsh") ->
  ["#compdef brod\n_brod() {\n  local -a choices\n  case $words[CURRENT-1] in ", files(), ") _files; return ;; esac\n  case $words[2] in\n",
   [["    ", Name, ") choices=(", Words, ") ;;\n"] || {Name, Words} <- options()],
   "  esac\n",
   "  (( CURRENT == 3 )) && case $words[2] in\n",
   [["    ", Name, ") choices=(", Words, " $choices) ;;\n"] || {Name, Words} <- actions()],
   "  esac\n",
   "  (( CURRENT == 2 )) && choices=(", names(), ")\n",
   "  compadd -a choices || _files\n}\n",
   "if [[ $funcstack[1] == _brod ]]; then\n  _brod\nelse\n",
   "  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }\n  compdef _brod brod\nfi\n"];
script("fish") ->
  [["complete -c brod -f -n __fish_use_subcommand -a '", names(), "'\n"],
   [["complete -c brod -f -n '__fish_seen_subcommand_from ", Name, "; and not __fish_seen_subcommand_from ", Words,
     "' -a '", Words, "'\n"] || {Name, Words} <- actions()],
   [["complete -c brod -n '__fish_seen_subcommand_from ", Name, "' -l ", Option, value(Option, Type),
     " -d '", string:replace(Text, "'", "\\'", all), "'\n"]
    || {Name, _, Spec, _} <- brod_cli_commands:all(), {Option, Type, Text} <- Spec ++ brod_cli_config:options()]];
script(_Shell) -> unknown.

value(_Option, flag) -> "";
value(Option, _Type) -> case lists:member(Option, ?FILES) of true -> " -r"; false -> " -x" end.

%% The options behind which a file comes, as a pattern of shells.
files() -> lists:join("|", ["-c" | ["--" ++ Option || Option <- ?FILES]]).

names() -> lists:join(" ", ["completion", "help" | commands()]).

commands() -> [Name || {Name, _, _, _} <- brod_cli_commands:all()].

actions() ->
  Own = [{Name, Words} || {Name, Text, _, _} <- brod_cli_commands:all(), [_ | _] = Words <- [brod_cli_commands:actions(Text)]],
  [{Name, lists:join(" ", Words)} || {Name, Words} <- Own ++ [{"help", commands()}, {"completion", ["bash", "fish", "zsh"]}]].

options() ->
  [{Name, lists:join(" ", ["--" ++ Option || {Option, _, _} <- Spec ++ brod_cli_config:options()])}
   || {Name, _, Spec, _} <- brod_cli_commands:all()].
