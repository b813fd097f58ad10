// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"keelson.io/keelson/test/harness"
)

var bothKinds = []harness.Kind{harness.Etcd, harness.Keelson}

// ask sends a request and returns what of the answer has to do with access.
func ask(t *testing.T, method, url string, header map[string]string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	req.Host = req.Header.Get("Host")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var cors []string
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "Access-Control") {
			cors = append(cors, name+"="+strings.Join(values, "|"))
		}
	}
	if resp.StatusCode == http.StatusOK {
		body = nil
	}
	return fmt.Sprintf("%d %d %s", resp.StatusCode, len(cors), body) + resp.Header.Get("Access-Control-Allow-Origin") +
		resp.Header.Get("Access-Control-Allow-Methods") + resp.Header.Get("Access-Control-Allow-Headers")
}

// TestAccess wants hosts and origins to be let in and kept out as etcd does it, byte for byte.
func TestAccess(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"--cors=http://a.example:80,http://b.example:80", "--host-whitelist=127.0.0.1,good.example"},
		{"--cors=*", "--host-whitelist=*"},
	} {
		answers := map[harness.Kind][]string{}
		for _, kind := range bothKinds {
			s := harness.Start(t, kind, harness.Options{Args: args})
			for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodPost} {
				for _, host := range []string{"", "good.example", "good.example:2379", "evil.example", "GOOD.example"} {
					for _, origin := range []string{"", "http://a.example:80", "http://c.example:80"} {
						for _, path := range []string{"/version", "/health", "/metrics", "/nowhere"} {
							answers[kind] = append(answers[kind], fmt.Sprintf("%s %s for %q from %q: ", method, path, host, origin)+
								ask(t, method, s.URL()+path, map[string]string{"Host": host, "Origin": origin}))
						}
					}
				}
			}
			s.Stop()
		}
		refused := 0
		for i, want := range answers[harness.Etcd] {
			if got := answers[harness.Keelson][i]; got != want {
				t.Errorf("%v: etcd: %s\nkeelson: %s", args, want, got)
			}
			refused += strings.Count(want, "DNS Rebinding")
		}
		if (refused > 0) != (len(args) > 0 && !strings.HasSuffix(args[1], "*")) {
			t.Errorf("%v: %d requests refused", args, refused)
		}
	}
}
