package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	oidc "github.com/coreos/go-oidc"
	jose "gopkg.in/go-jose/go-jose.v2"
)

// mounted verifies by the keys in the verification ConfigMap, as they are now.
type mounted struct{ folder string }

func (m mounted) VerifySignature(_ context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSigned(token)
	if err != nil {
		return nil, err
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(file(m.folder, "jwks.json")), &keys); err != nil {
		return nil, err
	}
	for _, key := range keys.Key(signed.Signatures[0].Header.KeyID) {
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the mounted set verifies it")
}

// api answers 200 to those whose token verifies in both ways: by the mounted keys, and by those that the JWKS URL serves over TLS.
func api() (http.Handler, error) {
	folder := os.Getenv("VERIFICATION")
	if folder == "" {
		return nil, errors.New("VERIFICATION names no folder")
	}
	client := &http.Client{Transport: transport(file(folder, "ca.crt")), Timeout: 5 * time.Second}
	remote := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), file(folder, "jwks-uri"))
	config := &oidc.Config{ClientID: file(folder, "audience"), SupportedSigningAlgs: []string{"RS256", "ES256"}}
	verifiers := []*oidc.IDTokenVerifier{
		oidc.NewVerifier(file(folder, "issuer"), mounted{folder}, config),
		oidc.NewVerifier(file(folder, "issuer"), remote, config),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		token, _ := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
		var claims map[string]any
		for _, verifier := range verifiers {
			verified, err := verifier.Verify(request.Context(), token)
			if err == nil {
				err = verified.Claims(&claims)
			}
			if err != nil {
				response.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
				http.Error(response, err.Error(), http.StatusUnauthorized)
				return
			}
		}
		fmt.Fprintf(response, "Hello %v, you may %v.\n", claims["client_id"], claims["scope"])
	})
	return mux, nil
}
