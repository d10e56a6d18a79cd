"""Results as people read them: tables and figures, the paper's numbers beside ours."""
