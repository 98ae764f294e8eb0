"""What a workload and an API written in Python do, with the libraries that most of them use.

client.py token METHOD DIR                prints an access token, got with the files mounted at DIR
client.py verify DIR AUDIENCE [SECONDS]   verifies the token on standard input, by a clock that is SECONDS ahead, and prints its client
client.py introspect METHOD DIR [URL]     asks about the token on standard input, and prints its client or "inactive"
client.py revoke METHOD DIR               revokes the token on standard input
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


def session(method, file):
    """What Authlib calls a session: it authenticates a client at each endpoint."""
    from authlib.common.urls import add_params_to_qs
    from authlib.integrations.requests_client import OAuth2Session
    from authlib.oauth2.rfc7523 import PrivateKeyJWT
    from joserfc.jwk import ECKey

    def service_account(_client, _method, uri, headers, body):
        assertion = {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": file("service-account-token"),
        }
        return uri, headers, add_params_to_qs(body, assertion)

    secret = None
    if method == "private_key_jwt":
        secret = ECKey.import_key(file("private-key.pem"))
    elif method != "service_account":
        secret = file("client-secret")
    methods = {"token_endpoint_auth_method": method, "revocation_endpoint_auth_method": method}
    session = OAuth2Session(file("client-id"), secret, **methods)
    # The audience of the assertion is the issuer, and not what the library would take: the token endpoint.
    session.register_client_auth_method(PrivateKeyJWT(file("issuer-uri"), alg="ES256"))
    session.register_client_auth_method(("service_account", service_account))
    return session


def by_authlib(method, file, authority):
    wanted = {"grant_type": "client_credentials", "scope": file("scope")}
    token = session(method, file).fetch_token(file("token-uri"), verify=authority, **wanted)
    assert token["expires_in"] > 0 and not token.is_expired()
    return token


def discovered(file, authority, endpoint):
    """Authlib's client leaves discovery (RFC 8414) to whoever uses it."""
    import requests
    from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

    url = get_well_known_url(file("issuer-uri"), external=True)
    metadata = AuthorizationServerMetadata(requests.get(url, verify=authority, timeout=30).json())
    assert metadata["issuer"] == file("issuer-uri")
    return metadata[endpoint]


def introspected(method, file, authority, url=None):
    url = url or discovered(file, authority, "introspection_endpoint")
    answer = session(method, file).introspect_token(url, token=sys.stdin.read(), verify=authority)
    answer.raise_for_status()
    said = answer.json()
    return said["client_id"] if said["active"] else "inactive"


def revoke(method, file, authority):
    url = discovered(file, authority, "revocation_endpoint")
    answer = session(method, file).revoke_token(url, token=sys.stdin.read(), token_type_hint="access_token", verify=authority)
    answer.raise_for_status()


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
    method = None if command == "verify" else rest[0]
    folder, *rest = rest if method is None else rest[1:]

    def file(name):
        return (pathlib.Path(folder) / name).read_text()

    authority = str(pathlib.Path(folder) / "ca.crt")
    if command == "verify":
        print(verified(file, authority, *rest)["client_id"], end="")
    elif command == "introspect":
        print(introspected(method, file, authority, *rest), end="")
    elif command == "revoke":
        revoke(method, file, authority)
    elif method == "requests-oauthlib":
        print(by_requests_oauthlib(file, authority)["access_token"], end="")
    else:
        print(by_authlib(method, file, authority)["access_token"], end="")


main(*sys.argv[1:])
