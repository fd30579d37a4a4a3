"""What JSON bodies are made of: camelCase names, and the bounds that keep bad input out."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel


class Schema(BaseModel):
    """Base of all bodies. Unknown fields are ignored, as the original's REST clients expect."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        json_schema_serialization_defaults_required=True,
    )


# PostgreSQL's text cannot hold NUL, and a name of nothing but blanks is no name.
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]

# Numbers that stand in paths: no slash, nothing that needs escaping.
_NUMBER = StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$")
ProductNumber = Annotated[str, _NUMBER, Field(examples=["001"])]
CartNumber = Annotated[str, _NUMBER, Field(examples=["900"])]


def _number_not_text(value: Any) -> Any:
    if isinstance(value, str | bool):
        raise ValueError("a number is expected")
    return value


_IS_NUMBER = BeforeValidator(_number_not_text)
# An order takes this much, so a cart does too.
MOST_LINES, MOST_OF_A_PRODUCT = 1000, 1_000_000
# JSON has one kind of number: 10.0 is as good an integer as 10.
Quantity = Annotated[int, Field(ge=1, le=MOST_OF_A_PRODUCT, examples=[10]), _IS_NUMBER]
StockQuantity = Annotated[int, Field(ge=0, le=1_000_000_000, examples=[100]), _IS_NUMBER]

# A decimal everywhere inside. On the wire a JSON number, as the contract has it: of at most twelve digits, which a
# double carries exactly to its shortest decimal form and back (IEEE 754 doubles hold fifteen).
Money = Annotated[
    Decimal,
    Field(ge=0, max_digits=12, decimal_places=2, allow_inf_nan=False, examples=[456.5]),
    _IS_NUMBER,
    PlainSerializer(float, return_type=float, when_used="json"),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 9_999_999_999.99, "multipleOf": 0.01}),
]


class Line(Schema):
    """So many of a product."""

    product_number: ProductNumber
    quantity: Quantity


class LineOutput(Schema):
    """So many of a product, as it is: bounds hold what comes in, never what is there already."""

    product_number: str = Field(examples=["001"])
    quantity: int = Field(examples=[10])
