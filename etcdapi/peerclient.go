// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// peerClient asks other members questions over HTTP, at the URLs that they have
// for their peers.
type peerClient struct{ http http.Client }

// newPeerClient returns a client that connects through transport, http's own by
// default.
func newPeerClient(transport http.RoundTripper) *peerClient {
	return &peerClient{http: http.Client{
		Transport: transport,
		// A member that sends one elsewhere is none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// peerAnswer is what a member answered.
type peerAnswer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a question and reads the answer, of maxBytes at most. Its time is
// bounded by the question's context.
func (c *peerClient) do(question *http.Request, maxBytes int64) (peerAnswer, error) {
	resp, err := c.http.Do(question)
	if err != nil {
		return peerAnswer{}, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes+1))
	if err == nil && int64(len(body)) > maxBytes {
		err = fmt.Errorf("etcdapi: %s answers more than %d bytes", question.URL, maxBytes)
	}
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return peerAnswer{}, err
	}
	return peerAnswer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// readBody reads the body of a member's question. When it is too long or cut off
// the member is told, and the result is not ok.
func readBody(w http.ResponseWriter, r *http.Request, maxBytes int64) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		http.Error(w, "request body too large", http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, "error reading body", http.StatusBadRequest)
	}
	return body, err == nil
}
