package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/zitadel/oidc/v3/pkg/client"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

// authorization is how the library is told to authenticate a request.
func (mounted folder) authorization(method string) (any, error) {
	switch method {
	case "client_secret_basic":
		return httphelper.AuthorizeBasic(mounted.file("client-id"), mounted.file("client-secret")), nil
	case "client_secret_post":
		return httphelper.FormAuthorization(func(form url.Values) {
			form.Set("client_id", mounted.file("client-id"))
			form.Set("client_secret", mounted.file("client-secret"))
		}), nil
	case "private_key_jwt":
		assertion, err := mounted.assertion()
		return client.ClientAssertionFormAuthorization(assertion), err
	case "service_account":
		return client.ClientAssertionFormAuthorization(mounted.file("service-account-token")), nil
	default:
		return nil, fmt.Errorf("no method %q", method)
	}
}

// asking is the library's resource server, which authenticates as it is told to. Where url is not empty it asks there.
type asking struct {
	rs.ResourceServer
	authorization any
	url           string
}

func (asking asking) AuthFn() (any, error) {
	return asking.authorization, nil
}

func (asking asking) IntrospectionURL() string {
	if asking.url != "" {
		return asking.url
	}
	return asking.ResourceServer.IntrospectionURL()
}

// introspect says whose token it is, or "inactive".
func (mounted folder) introspect(ctx context.Context, method string, url string) (string, error) {
	token, err := io.ReadAll(os.Stdin)
	if err != nil {
		return "", err
	}
	authorization, err := mounted.authorization(method)
	if err != nil {
		return "", err
	}
	trusting := rs.WithClient(ctx.Value(oauth2.HTTPClient).(*http.Client))
	server, err := rs.NewResourceServerClientCredentials(ctx, mounted.file("issuer-uri"), mounted.file("client-id"), "", trusting)
	if err != nil {
		return "", err
	}
	answer, err := rs.Introspect[*oidc.IntrospectionResponse](ctx, asking{server, authorization, url}, string(token))
	if err != nil {
		return "", err
	}
	if !answer.Active {
		return "inactive", nil
	}
	if answer.Issuer != mounted.file("issuer-uri") || answer.Expiration.AsTime().IsZero() || answer.JWTID == "" {
		return "", fmt.Errorf("an active token without issuer, expiry or id: %+v", answer)
	}
	return answer.ClientID, nil
}

// revoking is where the library sends a token that is to be revoked.
type revoking struct {
	endpoint string
	http     *http.Client
}

func (revoking revoking) GetRevokeEndpoint() string {
	return revoking.endpoint
}

func (revoking revoking) HttpClient() *http.Client {
	return revoking.http
}

func (mounted folder) revoke(ctx context.Context, method string) (string, error) {
	token, err := io.ReadAll(os.Stdin)
	if err != nil {
		return "", err
	}
	authorization, err := mounted.authorization(method)
	if err != nil {
		return "", err
	}
	trusting := ctx.Value(oauth2.HTTPClient).(*http.Client)
	discovered, err := client.Discover(ctx, mounted.file("issuer-uri"), trusting)
	if err != nil {
		return "", err
	}
	request := client.RevokeRequest{Token: string(token), TokenTypeHint: "access_token"}
	return "revoked", client.CallRevokeEndpoint(ctx, request, authorization, revoking{discovered.RevocationEndpoint, trusting})
}
