"""What the driver needs beside its loop: history, checkpoints, and the checks of a resumed run."""
