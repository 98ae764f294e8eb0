"""What a workload and an API written in Python do, with the libraries that most of them use.

client.py token METHOD DIR                prints an access token, got with the files mounted at DIR
client.py verify DIR AUDIENCE [SECONDS]   verifies the token on standard input, by a clock that is SECONDS ahead, and prints its client
"""

import pathlib
import ssl
import sys


def by_requests_oauthlib(file, authority):
    from oauthlib.oauth2 import BackendApplicationClient
    from requests_oauthlib import OAuth2Session

    client, scope = file("client-id"), file("scope").split()
    session = OAuth2Session(client=BackendApplicationClient(client_id=client, scope=scope))
    secret = file("client-secret")
    return session.fetch_token(file("token-uri"), client_id=client, client_secret=secret, scope=scope, verify=authority)


def by_authlib(method, file, authority):
    from authlib.integrations.requests_client import OAuth2Session
    from authlib.oauth2.rfc7523 import PrivateKeyJWT
    from joserfc.jwk import ECKey

    secret, assertion = None, {}
    if method == "private_key_jwt":
        secret = ECKey.import_key(file("private-key.pem"))
    elif method == "service_account":
        assertion["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assertion["client_assertion"] = file("service-account-token")
    else:
        secret = file("client-secret")
    registered = "none" if assertion else method
    session = OAuth2Session(file("client-id"), secret, scope=file("scope"), token_endpoint_auth_method=registered)
    # The audience of the assertion is the issuer, and not what the library would take: the token endpoint.
    session.register_client_auth_method(PrivateKeyJWT(file("issuer-uri"), alg="ES256"))
    token = session.fetch_token(file("token-uri"), grant_type="client_credentials", verify=authority, **assertion)
    assert token["expires_in"] > 0 and not token.is_expired()
    return token


def verified(file, authority, audience, ahead="0"):
    import jwt

    raw = sys.stdin.read()
    keys = jwt.PyJWKClient(file("jwk-set-uri"), ssl_context=ssl.create_default_context(cafile=authority))
    options = {"require": ["exp", "iat", "iss", "aud", "sub", "jti", "client_id"]}
    if ahead != "0":
        # The library has no clock to set. A negative leeway is one for `exp` alone.
        options |= {"verify_iat": False, "verify_nbf": False}
    return jwt.decode(
        raw,
        keys.get_signing_key_from_jwt(raw),
        algorithms=["RS256", "ES256"],
        audience=audience,
        issuer=file("issuer-uri"),
        leeway=-int(ahead),
        options=options,
    )


def main(command, *rest):
    method, folder = rest[:2] if command == "token" else (None, rest[0])

    def file(name):
        return (pathlib.Path(folder) / name).read_text()

    authority = str(pathlib.Path(folder) / "ca.crt")
    if command == "verify":
        print(verified(file, authority, *rest[1:])["client_id"], end="")
    elif method == "requests-oauthlib":
        print(by_requests_oauthlib(file, authority)["access_token"], end="")
    else:
        print(by_authlib(method, file, authority)["access_token"], end="")


main(*sys.argv[1:])
