"""Errors that the user sees: one line that says what is wrong and what to do about it."""

# Exit codes of every command.
DONE, FINDING, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


class UserError(Exception):
    """A problem that the user can fix; shown as one line, exit code 2, no traceback."""

    def __init__(self, problem: str, fix: str = "") -> None:
        self.problem, self.fix = problem, fix
        super().__init__(f"{problem}: {fix}" if fix else problem)


class StageError(Exception):
    """A child process ended without finishing its stage; shown as one line with its log, exit code 1."""
