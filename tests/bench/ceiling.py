"""The ceiling of the stack: FastAPI on uvicorn with uvloop and httptools, and no database.

`python -m tests.bench.ceiling PORT` answers until it is ended.
"""

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/product/{product_number}", response_model=int)
async def stock_of_product(product_number: str) -> int:
    """A number, as the product service answers."""
    return len(product_number)


@app.get("/readyz")
async def ready() -> None:
    """Answers."""


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_config=None)
