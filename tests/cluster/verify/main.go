// Verifies an access token as an API would that knows nothing but issuer and audience: keys and algorithms come from the issuer's
// discovery document. The library is the one with which kube-apiserver verifies tokens of OpenID Connect issuers.
//
//	verify ISSUER AUDIENCE CA-FILE < TOKEN
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	oidc "github.com/coreos/go-oidc"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: verify ISSUER AUDIENCE CA-FILE < TOKEN")
		os.Exit(2)
	}
	token, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = verify(os.Args[1], os.Args[2], os.Args[3], string(bytes.TrimSpace(token)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "not verified:", err)
		os.Exit(1)
	}
}

// verify checks signature, iss, aud and exp, and prints the claims.
func verify(issuer, audience, caFile, token string) error {
	client, err := clientThatTrusts(caFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.Background(), client), 10*time.Second)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return err
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, token)
	if err != nil {
		return err
	}
	var claims json.RawMessage
	if err := verified.Claims(&claims); err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, claims, "", "  "); err != nil {
		return err
	}
	fmt.Println(indented.String())
	return nil
}

func clientThatTrusts(caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New(caFile + " holds no certificate")
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}, nil
}
