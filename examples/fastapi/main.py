"""A backend that believes the accounts service's tokens, verified with PyJWT and with python-jose.

    SITE=http://127.0.0.1:8031 uvicorn main:app --port 8041
"""

import os
import time
from typing import Annotated

import httpx
import jwt
from fastapi import Depends, FastAPI, Header, HTTPException
from jose import JWTError
from jose import jwt as jose_jwt

SITE = os.environ["SITE"]
JWKS = f"{SITE}/api/auth/jwks"
# How long an unknown key is not asked for again, so that made-up tokens don't become requests.
COOL_DOWN = 30

app = FastAPI()
# PyJWT keeps the keys for five minutes and asks again for one that it does not know.
pyjwt_keys = jwt.PyJWKClient(JWKS)


def bearer(authorization: Annotated[str, Header()] = "") -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise HTTPException(401, "no token")
    return token


def by_pyjwt(token: Annotated[str, Depends(bearer)]) -> dict:
    try:
        key = pyjwt_keys.get_signing_key_from_jwt(token).key
        return jwt.decode(token, key, algorithms=["ES256"], audience=SITE, issuer=SITE)
    except jwt.PyJWTError as error:
        raise HTTPException(401, type(error).__name__) from error


class JoseKeys:
    """The same for python-jose, which fetches nothing itself."""

    def __init__(self) -> None:
        self.keys: dict[str, dict] = {}
        self.fetched = float("-inf")

    def find(self, kid: str | None) -> dict:
        if kid not in self.keys and time.monotonic() - self.fetched > COOL_DOWN:
            answer = httpx.get(JWKS, timeout=5)
            # On an error the old keys are kept.
            if answer.status_code == 200:
                self.keys = {key["kid"]: key for key in answer.json()["keys"]}
                self.fetched = time.monotonic()
        if kid not in self.keys:
            raise HTTPException(401, "unknown key")
        return self.keys[kid]


jose_keys = JoseKeys()


def by_jose(token: Annotated[str, Depends(bearer)]) -> dict:
    try:
        key = jose_keys.find(jose_jwt.get_unverified_header(token).get("kid"))
        return jose_jwt.decode(token, key, algorithms=["ES256"], audience=SITE, issuer=SITE)
    except JWTError as error:
        raise HTTPException(401, type(error).__name__) from error


@app.get("/pyjwt")
def hello(user: Annotated[dict, Depends(by_pyjwt)]) -> dict:
    return {"hello": user["name"], "email": user["email"]}


@app.get("/jose")
def hello_again(user: Annotated[dict, Depends(by_jose)]) -> dict:
    return {"hello": user["name"], "email": user["email"]}
