"""What a workload and an API written in Python do, with the libraries that most of them use.

    client.py requests-oauthlib DIR     prints an access token, got with the files of the Secret mounted at DIR
    client.py authlib DIR               the same, by another library
    client.py verify DIR AUDIENCE       verifies the token on standard input by the JWKS URL, and prints who it was issued to
"""

import pathlib
import ssl
import sys


def main(command, folder, *rest):
    def file(name):
        return (pathlib.Path(folder) / name).read_text()

    authority = str(pathlib.Path(folder) / "ca.crt")
    scope = file("scope").split()
    if command == "requests-oauthlib":
        from oauthlib.oauth2 import BackendApplicationClient
        from requests_oauthlib import OAuth2Session

        session = OAuth2Session(client=BackendApplicationClient(client_id=file("client-id"), scope=scope))
        token = session.fetch_token(
            file("token-uri"),
            client_id=file("client-id"),
            client_secret=file("client-secret"),
            scope=scope,
            verify=authority,
        )
        print(token["access_token"], end="")
    elif command == "authlib":
        from authlib.integrations.requests_client import OAuth2Session

        session = OAuth2Session(file("client-id"), file("client-secret"), scope=" ".join(scope))
        token = session.fetch_token(file("token-uri"), grant_type="client_credentials", verify=authority)
        assert token["expires_in"] > 0 and not token.is_expired()
        print(token["access_token"], end="")
    elif command == "verify":
        import jwt

        raw = sys.stdin.read()
        keys = jwt.PyJWKClient(file("jwk-set-uri"), ssl_context=ssl.create_default_context(cafile=authority))
        key = keys.get_signing_key_from_jwt(raw)
        required = ["exp", "iat", "iss", "aud", "sub", "jti", "client_id"]
        claims = jwt.decode(
            raw,
            key,
            algorithms=["RS256", "ES256"],
            audience=rest[0],
            issuer=file("issuer-uri"),
            options={"require": required},
        )
        print(claims["client_id"], end="")
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
