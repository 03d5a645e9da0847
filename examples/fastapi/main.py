"""A backend that believes the accounts service's tokens, verified with PyJWT and with python-jose.

    SITE=http://127.0.0.1:8031 uvicorn main:app --port 8041
"""

import logging
import os
import threading
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
# How long the keys are not asked for again while there are none to believe.
WITHOUT_KEYS = 1
# How long the keys are kept: a key that was withdrawn must be forgotten, too.
LIFESPAN = 300

app = FastAPI()
log = logging.getLogger(__name__)
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
        self.fetched = self.tried = float("-inf")
        # FastAPI calls us in threads: one of them fetches, the others want what it brings.
        self.lock = threading.Lock()

    def find(self, kid: str | None) -> dict:
        with self.lock:
            pause = WITHOUT_KEYS if self.are_old() else COOL_DOWN
            wanted = kid not in self.keys or self.are_old()
            if wanted and time.monotonic() - self.tried > pause:
                self.fetch()
            if self.are_old():
                raise HTTPException(503, "the keys can't be fetched")
            if kid not in self.keys:
                raise HTTPException(401, "unknown key")
            return self.keys[kid]

    def are_old(self) -> bool:
        return time.monotonic() - self.fetched > LIFESPAN

    def fetch(self) -> None:
        try:
            answer = httpx.get(JWKS, timeout=5)
            answer.raise_for_status()
            self.keys = {key["kid"]: key for key in answer.json()["keys"]}
            self.fetched = time.monotonic()
        except (httpx.HTTPError, KeyError, TypeError, ValueError):
            log.exception("the keys can't be fetched")
        self.tried = time.monotonic()


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
