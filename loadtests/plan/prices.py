"""What instances cost, and how soon there are more of them: a TOML file."""

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Private(_Settings):
    """Machines that the shop owns: as many in every hour, and paid in every hour."""

    price_per_hour: float = Field(ge=0, description="of an instance, in any currency")
    at_most: int = Field(8, ge=1, description="instances there is room for")


class Public(_Settings):
    """Instances by the hour."""

    price_per_hour: float = Field(ge=0, description="of an instance")
    price_per_gigabyte: float = Field(0, ge=0, description="of answers that leave the site")
    at_most: int = Field(32, ge=0, description="instances that the provider lets one have")
    arrival_minutes: tuple[float, float] = Field(
        (4, 7), description="shortest and longest time from the order of an instance until it answers"
    )


class Prices(_Settings):
    """Both."""

    private: Private
    public: Public
