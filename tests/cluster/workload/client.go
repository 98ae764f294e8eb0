package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	// How long one try may take: a peer that is gone never says so.
	patience = 5 * time.Second
	// How often a call is tried where nobody answered, as by a pod that is dead and not yet out of its Service. An answer, whatever it says,
	// is never asked for again.
	tries = 30
	// From one call, or try, to the next.
	pause = 100 * time.Millisecond
)

// fault is one try that failed.
type fault struct {
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended"`
	Answered bool      `json:"answered"`
	Client   string    `json:"client"`
	Error    string    `json:"error"`
}

// counts is what a test asks for.
type counts struct {
	sync.Mutex
	Calls   int     `json:"calls"`   // finished
	Failed  int     `json:"failed"`  // of these: answered by an error, or by nobody in any of the tries
	Faults  []fault `json:"faults"`  // the last ones
	Secrets []int   `json:"secrets"` // how many calls succeeded with the first secret, the second and so on
	Said    string  `json:"said"`    // the API's last answer
	known   []string
}

// credentials are those of the Secret as it is mounted at this moment, or of the environment as it was when the pod started.
func credentials() (clientcredentials.Config, string, error) {
	root := os.Getenv("SERVICE_BINDING_ROOT")
	if root == "" {
		return config(os.Getenv("CLIENT_ID"), os.Getenv("CLIENT_SECRET"), os.Getenv("TOKEN_URL"), os.Getenv("SCOPES")), os.Getenv("CA_CERT"), nil
	}
	types, _ := filepath.Glob(filepath.Join(root, "*", "type"))
	for _, path := range types {
		if folder := filepath.Dir(path); file(path) == "oauth2" {
			found := config(file(folder, "client-id"), file(folder, "client-secret"), file(folder, "token-uri"), file(folder, "scope"))
			return found, file(folder, "ca.crt"), nil
		}
	}
	return clientcredentials.Config{}, "", errors.New("no binding of the type oauth2 below " + root)
}

func config(id, secret, tokenURL, scopes string) clientcredentials.Config {
	// The style is named: the library would answer any error by a second request in the other one, and hide it.
	style := oauth2.AuthStyleInHeader
	return clientcredentials.Config{ClientID: id, ClientSecret: secret, TokenURL: tokenURL, Scopes: strings.Fields(scopes), AuthStyle: style}
}

// client calls in three ways at once: a connection for each request, one that stays open, and HTTP/2.
func client() (http.Handler, error) {
	_, authorities, err := credentials()
	if err != nil {
		return nil, err
	}
	closing, keeping, http2 := transport(authorities), transport(authorities), transport(authorities)
	closing.DisableKeepAlives = true
	http2.ForceAttemptHTTP2 = true
	seen := &counts{Faults: []fault{}, Secrets: []int{}}
	for name, transport := range map[string]*http.Transport{"closing": closing, "keeping": keeping, "http2": http2} {
		go call(name, &http.Client{Transport: transport, Timeout: patience}, seen)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(response http.ResponseWriter, _ *http.Request) {
		seen.Lock()
		defer seen.Unlock()
		if seen.Calls == seen.Failed {
			http.Error(response, "no call has succeeded yet", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/counts", func(response http.ResponseWriter, _ *http.Request) {
		seen.Lock()
		defer seen.Unlock()
		json.NewEncoder(response).Encode(seen)
	})
	return mux, nil
}

// call calls for ever.
func call(name string, endpoint *http.Client, seen *counts) {
	plain := &http.Client{Transport: transport(""), Timeout: patience}
	for {
		var said, secret string
		var err error
		answered := false
		for range tries {
			began := time.Now()
			said, secret, answered, err = once(endpoint, plain)
			if err != nil {
				seen.note(fault{began, time.Now(), answered, name, err.Error()})
			}
			if answered {
				break
			}
			time.Sleep(pause)
		}
		seen.finish(said, secret, err)
		time.Sleep(pause)
	}
}

// once gets a token and calls the API with it. It tells whether somebody answered.
func once(endpoint, plain *http.Client) (said, secret string, answered bool, err error) {
	config, _, err := credentials()
	if err != nil {
		return "", "", true, err
	}
	secret = config.ClientSecret
	token, err := config.Token(context.WithValue(context.Background(), oauth2.HTTPClient, endpoint))
	if err != nil {
		var refused *oauth2.RetrieveError
		return "", secret, errors.As(err, &refused), fmt.Errorf("token: %w", err)
	}
	request, err := http.NewRequest(http.MethodGet, os.Getenv("API"), nil)
	if err != nil {
		return "", secret, true, err
	}
	token.SetAuthHeader(request)
	response, err := plain.Do(request)
	if err != nil {
		return "", secret, false, fmt.Errorf("API: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", secret, false, fmt.Errorf("API: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", secret, true, fmt.Errorf("API: %s: %s", response.Status, body)
	}
	return string(body), secret, true, nil
}

func (c *counts) note(tried fault) {
	c.Lock()
	defer c.Unlock()
	fmt.Fprintln(os.Stderr, tried.Client, tried.Error)
	c.Faults = append(c.Faults, tried)
	c.Faults = c.Faults[max(0, len(c.Faults)-100):]
}

func (c *counts) finish(said, secret string, err error) {
	c.Lock()
	defer c.Unlock()
	c.Calls++
	if err != nil {
		c.Failed++
	}
	if c.Calls%100 == 0 {
		fmt.Printf("%d calls, %d failed\n", c.Calls, c.Failed)
	}
	if err != nil {
		return
	}
	c.Said = said
	at := slices.Index(c.known, secret)
	if at < 0 {
		at = len(c.known)
		c.known = append(c.known, secret)
		c.Secrets = append(c.Secrets, 0)
		fmt.Printf("secret %d: %s", at+1, said)
	}
	c.Secrets[at]++
}
