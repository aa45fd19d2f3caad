"""What the stages of Shelfbridge share: the contract, the catalogue, text, retrieval and the client."""

__version__ = "0.1.0"
