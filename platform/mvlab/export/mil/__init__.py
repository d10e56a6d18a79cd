"""CoreML programs (MIL) executed in torch, on any OS: a saved package is read, and its operations are carried out."""

import mvlab.export.coreml  # noqa: F401 - which silences what coremltools says at import
