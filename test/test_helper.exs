# Tests tagged :kafka need a real one; scripts/test.sh starts it and says where it is.
ExUnit.start(exclude: if(System.get_env("BROD_BOOTSTRAP"), do: [], else: [:kafka]))
