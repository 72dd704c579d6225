import Config

# Only brod's own builds read this file: a project that depends on brod configures `:brod` in its own.
