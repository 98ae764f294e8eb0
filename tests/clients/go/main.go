// Command client does what a workload and an API written in Go do, with the libraries that most of them use.
//
//	client token METHOD DIR              prints an access token, got with the files mounted at DIR
//	client verify DIR AUDIENCE [SECONDS] verifies the token on standard input, by a clock that is SECONDS ahead, and prints its client
//	client introspect METHOD DIR [URL]   asks about the token on standard input, and prints its client or "inactive"
//	client revoke METHOD DIR             revokes the token on standard input
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	printed, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(printed)
}

func run(args []string) (string, error) {
	switch args[0] {
	case "token":
		mounted := folder(args[2])
		return mounted.token(mounted.context(), args[1])
	case "introspect":
		mounted := folder(args[2])
		return mounted.introspect(mounted.context(), args[1], strings.Join(args[3:], ""))
	case "revoke":
		mounted := folder(args[2])
		return mounted.revoke(mounted.context(), args[1])
	}
	mounted := folder(args[1])
	var ahead time.Duration
	if len(args) > 3 {
		var err error
		if ahead, err = time.ParseDuration(args[3] + "s"); err != nil {
			return "", err
		}
	}
	return mounted.verify(mounted.context(), args[2], ahead)
}

// folder is where the Secret is mounted.
type folder string

func (mounted folder) file(name string) string {
	bytes, err := os.ReadFile(filepath.Join(string(mounted), name))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return string(bytes)
}

// context holds an HTTP client that trusts the mounted authority.
func (mounted folder) context() context.Context {
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(mounted.file("ca.crt")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}}
	return context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: transport})
}

func (mounted folder) token(ctx context.Context, method string) (string, error) {
	config := clientcredentials.Config{
		ClientID:  mounted.file("client-id"),
		TokenURL:  mounted.file("token-uri"),
		Scopes:    strings.Fields(mounted.file("scope")),
		AuthStyle: oauth2.AuthStyleInParams,
	}
	if err := mounted.authenticate(&config, method); err != nil {
		return "", err
	}
	token, err := config.Token(ctx)
	if err != nil {
		return "", err
	}
	if token.Type() != "Bearer" || !token.Valid() || token.Expiry.IsZero() {
		return "", fmt.Errorf("type %q, expires %v", token.Type(), token.Expiry)
	}
	return token.AccessToken, nil
}

func (mounted folder) authenticate(config *clientcredentials.Config, method string) error {
	var assertion string
	var err error
	switch method {
	case "client_secret_basic":
		config.AuthStyle = oauth2.AuthStyleInHeader
		fallthrough
	case "client_secret_post":
		config.ClientSecret = mounted.file("client-secret")
		return nil
	case "private_key_jwt":
		assertion, err = mounted.assertion()
	case "service_account":
		assertion = mounted.file("service-account-token")
	default:
		err = fmt.Errorf("no method %q", method)
	}
	config.EndpointParams = url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
	}
	return err
}

// assertion is signed for one request.
func (mounted folder) assertion() (string, error) {
	block, _ := pem.Decode([]byte(mounted.file("private-key.pem")))
	if block == nil {
		return "", errors.New("private-key.pem is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:   mounted.file("client-id"),
		Subject:  mounted.file("client-id"),
		Audience: jwt.Audience{mounted.file("issuer-uri")},
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(now.Add(time.Minute)),
		ID:       rand.Text(),
	}).Serialize()
}

func (mounted folder) verify(ctx context.Context, audience string, ahead time.Duration) (string, error) {
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return "", err
	}
	provider, err := oidc.NewProvider(ctx, mounted.file("issuer-uri"))
	if err != nil {
		return "", err
	}
	clock := func() time.Time { return time.Now().Add(ahead) }
	token, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: audience, Now: clock}).Verify(ctx, string(raw))
	if err != nil {
		return "", err
	}
	var claims struct {
		Client string `json:"client_id"`
	}
	err = token.Claims(&claims)
	return claims.Client, err
}
