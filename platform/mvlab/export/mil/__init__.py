"""CoreML programs (MIL), executed in torch on any OS: a saved package is read, and its operations are run."""

import mvlab.export.coreml  # noqa: F401 - it silences coremltools' messages at import
