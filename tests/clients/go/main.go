// Command client does what a workload and an API written in Go do, with the libraries that most of them use.
//
//	client token DIR           prints an access token, got with the files of the Secret mounted at DIR
//	client verify DIR AUDIENCE verifies the token on standard input by the issuer's discovery document, and prints its claims
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	file := func(name string) string {
		bytes, err := os.ReadFile(filepath.Join(args[1], name))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return string(bytes)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(file("ca.crt")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: transport})
	if args[0] == "token" {
		config := clientcredentials.Config{
			ClientID:     file("client-id"),
			ClientSecret: file("client-secret"),
			TokenURL:     file("token-uri"),
			Scopes:       strings.Fields(file("scope")),
		}
		token, err := config.Token(ctx)
		if err != nil {
			return err
		}
		if token.Type() != "Bearer" || !token.Valid() || token.Expiry.IsZero() {
			return fmt.Errorf("type %q, expires %v", token.Type(), token.Expiry)
		}
		fmt.Print(token.AccessToken)
		return nil
	}
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	provider, err := oidc.NewProvider(ctx, file("issuer-uri"))
	if err != nil {
		return err
	}
	token, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: args[2]}).Verify(ctx, string(raw))
	if err != nil {
		return err
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return err
	}
	fmt.Print(claims["client_id"])
	return nil
}
