"""Signs in, reads the session, takes a token and verifies it with PyJWT's unchanged PyJWKClient, again and
again until standard input ends: loop.py BASE ORIGIN EMAIL PASSWORD. A line for each round: `ok KID`,
`waiting WHAT` for a 503 at tokens or keys, or `refused WHAT`.
"""

import json
import sys
import threading
import time
import urllib.error
import urllib.request

import jwt

BASE, ORIGIN, EMAIL, PASSWORD = sys.argv[1:]
KEYS = jwt.PyJWKClient(f"{BASE}/api/auth/jwks")


def call(path, headers, body=None):
    request = urllib.request.Request(f"{BASE}/api/auth{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, None


def one_round():
    body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    headers = {"content-type": "application/json", "origin": ORIGIN}
    status, headers, _ = call("/sign-in/email", headers, body)
    if status != 200:
        return f"refused sign-in: {status}"
    cookie = {"cookie": headers["set-cookie"].partition(";")[0]}
    status, _, session = call("/get-session", cookie)
    if status != 200 or not session or session["user"]["email"] != EMAIL:
        return f"refused get-session: {status}"
    status, _, answer = call("/token", cookie)
    if status == 503:
        return "waiting token"
    if status != 200:
        return f"refused token: {status}"
    token = answer["token"]
    try:
        key = KEYS.get_signing_key_from_jwt(token).key
        jwt.decode(token, key, algorithms=["ES256"], audience=BASE, issuer=BASE)
    except jwt.PyJWKClientConnectionError as error:
        return "waiting keys" if "503" in str(error) else f"refused keys: {error}"
    except jwt.PyJWTError as error:
        return f"refused by PyJWT: {error!r}"
    return f"ok {jwt.get_unverified_header(token)['kid']}"


def until_input_ends():
    while True:
        try:
            print(one_round(), flush=True)
        except OSError as error:
            print(f"refused connection: {error!r}", flush=True)
        time.sleep(0.1)


threading.Thread(target=until_input_ends, daemon=True).start()
sys.stdin.read()
