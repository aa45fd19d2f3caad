"""One exception tree. Every message names the cause and the cure."""


class ShelfbridgeError(Exception):
    """Root of everything this project raises on purpose."""


class DataError(ShelfbridgeError):
    """A catalogue, judgment file or other data set cannot be used."""


class ArtefactError(ShelfbridgeError):
    """A model, index or release on disk is missing, damaged or of another make."""


class PrerequisiteError(ShelfbridgeError):
    """This machine lacks something that the job needs."""


class SettingsError(ShelfbridgeError):
    """A setting of a program or client cannot be used."""


class InvalidEvents(ShelfbridgeError):
    """A batch of events cannot be taken; sending it again will not help."""


class StoreUnavailable(ShelfbridgeError):
    """The store of profiles did not answer in time; a shelf falls back to what is popular."""


class VectorsUnavailable(ShelfbridgeError):
    """The store of vectors did not answer in time; candidates are found by words alone."""


class SearchError(ShelfbridgeError):
    """A search was not answered. The subclasses say whose fault it was.

    No message holds the query; `request_id` finds the request in the server's log.
    """

    def __init__(self, message: str, *, request_id: str | None = None):
        super().__init__(message if request_id is None else f"{message} (request {request_id})")
        self.request_id = request_id


class InvalidQuery(SearchError):
    """The request is not one that can be answered; sending it again will not help."""


class Overloaded(SearchError):
    """The server refused the request to protect the others; try later or elsewhere."""


class DeadlineExceeded(SearchError):
    """No answer came within the deadline."""


class ConnectionFailed(SearchError):
    """No server that could answer was reached, or the connection broke."""


class PermissionRefused(SearchError):
    """The server wants other credentials."""


class ServerFault(SearchError):
    """The server failed on a request that was fine."""
