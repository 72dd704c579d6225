%% What scripts/check-links.escript says of a site.
-module(brod_links_tests).
-include_lib("eunit/include/eunit.hrl").

links_that_lead_nowhere_fail_test_() ->
  {timeout, 60, fun() ->
    Dir = filename:join(filename:basedir(user_cache, "brod_links_tests"), os:getpid()),
    Write = fun(Name, Text) -> File = filename:join(Dir, Name), ok = filelib:ensure_dir(File), ok = file:write_file(File, Text) end,
    Write("index.html", "<h1 id=\"top&amp;1\">x</h1> <a href=\"sub/a.html#here\">x</a> <a href=\"#top&amp;1\">x</a> <a href=\"https://example.org/\">x</a>"),
    Write("sub/a.html", "<p class=\"x\" id=\"here\"></p><img src=\"../a%20b.png\"><a href=\"../index.html\">x</a>"),
    Write("a b.png", ""),
    try
      ?assertEqual({0, "links: 2 pages, 5 links, 0 dead\n"}, check(Dir)),
      Write("b.html", "<a href=\"sub/a.html#there\">x</a> <a href=\"gone.html\">x</a> <a href=\"#none\">x</a>"),
      ?assertEqual({1, "b.html: #none leads nowhere\nb.html: gone.html leads nowhere\n"
                       "b.html: sub/a.html#there leads nowhere\nlinks: 3 pages, 8 links, 3 dead\n"}, check(Dir))
    after
      ok = file:del_dir_r(Dir)
    end
  end}.

check(Dir) ->
  Script = filename:join(brod_test:scripts(), "check-links.escript"),
  Port = open_port({spawn_executable, os:find_executable("escript")}, [{args, [Script, Dir]}, exit_status, stderr_to_stdout]),
  ended(Port, "").

ended(Port, Said) ->
  receive
    {Port, {data, Data}} -> ended(Port, Said ++ Data);
    {Port, {exit_status, Code}} -> {Code, Said}
  after 50000 -> error({still_running, Said})
  end.
