"""One exception tree. Every message names the cause and the cure."""


class ShelfbridgeError(Exception):
    """Root of everything this project raises on purpose."""


class DataError(ShelfbridgeError):
    """A catalogue, judgment file or other data set cannot be used."""


class ArtefactError(ShelfbridgeError):
    """A model, index or release on disk is missing, damaged or of another make."""


class PrerequisiteError(ShelfbridgeError):
    """This machine lacks something that the job needs."""


class SearchError(ShelfbridgeError):
    """A search was not answered. The subclasses say whose fault it was."""


class InvalidQuery(SearchError):
    """The request is not one that can be answered; sending it again will not help."""


class Overloaded(SearchError):
    """The server refused the request to protect the others; try later or elsewhere."""


class DeadlineExceeded(SearchError):
    """No answer came within the deadline."""


class ConnectionFailed(SearchError):
    """No server was reached, or the connection broke."""


class PermissionRefused(SearchError):
    """The server wants other credentials."""


class ServerFault(SearchError):
    """The server failed on a request that was fine."""
