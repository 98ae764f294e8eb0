// Command workload is what runs in the pods of the tests and of the demo: an API, and a client of it, with the libraries that most people
// use in Go.
//
//	workload api     verifies the bearer token of each request, with the files of a verification ConfigMap
//	workload client  calls an API again and again, each time with a new token, and counts what fails
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	run := map[string]func() (http.Handler, error){"api": api, "client": client}
	if len(os.Args) != 2 || run[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: workload api|client")
		os.Exit(2)
	}
	handler, err := run[os.Args[1]]()
	if err == nil {
		err = serve(handler)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve answers at port 8080 until the pod is told to end, and then finishes what it has begun.
func serve(handler http.Handler) error {
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	server := &http.Server{Addr: ":8080", Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ended.Done():
		return server.Shutdown(context.Background())
	}
}

// transport trusts these authorities, and those of the system where there are none.
func transport(authorities string) *http.Transport {
	config := &tls.Config{}
	if authorities != "" {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM([]byte(authorities))
	}
	// A lost SYN is sent again after a second.
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	return &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: config, MaxIdleConnsPerHost: 4}
}

// file reads what is mounted, each time anew.
func file(path ...string) string {
	content, err := os.ReadFile(strings.Join(path, "/"))
	if err != nil {
		return ""
	}
	return string(content)
}
