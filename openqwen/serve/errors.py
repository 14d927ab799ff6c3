"""What a client is told when a request can't be served: OpenAI's form, whatever went wrong.

raise ApiError(404, "there is no model 'x'; there are: qwen", param="model", code="model_not_found")
JSONResponse(error_body(error), error.status, headers=error.headers)
"""

import math
from typing import Any

from openqwen.core.errors import UserError

RETRY_AFTER = "retry-after"


class ApiError(UserError):
    """A request that is refused, or ends badly; a `UserError`, so that an agent's run ends with it.

    Attributes:
        status: the HTTP status.
        message: one line: the bad value, where it stood, the fix.
        type: OpenAI's class of the error, such as "invalid_request_error".
        param: the parameter that is to blame, or None.
        code: a name that programs compare, or None.
        retry_after_s: seconds after which the same request may pass, or None.
        headers: what goes out beside the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Take what the client will read."""
        super().__init__(message)
        self.status, self.message, self.type = status, message, type
        self.param, self.code, self.retry_after_s = param, code, retry_after_s
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers[RETRY_AFTER] = str(max(1, math.ceil(retry_after_s)))


def error_body(error: ApiError) -> dict[str, Any]:
    """Return an error's JSON, as OpenAI's clients read it."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def internal_error(
    message: str = "the server failed on this request; its log says why",
) -> ApiError:
    """Return the error for a defect of ours; the details are for the log."""
    return ApiError(500, message, type="server_error", code="internal_error")
