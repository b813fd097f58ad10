// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"

	"keelson.io/keelson/etcdapi"
)

// listener is open, and closed by who serves it. It is no net.Listener itself, so
// that nobody serves one without a look at what it is for.
type listener struct {
	socket  net.Listener
	secure  bool            // connections begin with a handshake
	plain   bool            // or some of them do not
	traffic etcdapi.Traffic // of clients; empty: all
}

// listeners are those of a node.
type listeners struct{ clients, scrapers, members []listener }

// clientURLs are all that clients are served on.
func (c *config) clientURLs() types.URLs {
	return slices.Concat(c.listenClientURLs, c.listenClientHTTPURLs)
}

// listen opens all listeners, or none.
func (c *config) listen() (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	traffic, urls, both := etcdapi.Traffic(""), c.listenClientURLs, map[string]bool{}
	if len(c.listenClientHTTPURLs) > 0 {
		traffic = etcdapi.OnlyGRPC
	} else {
		urls, both = foldSchemes(urls)
	}
	if l.clients, err = c.listenOn(l.clients, urls, traffic); err != nil {
		return l, err
	}
	for i, u := range urls {
		if both[address(u)] {
			l.clients[i].secure, l.clients[i].plain = true, true
		}
	}
	if l.clients, err = c.listenOn(l.clients, c.listenClientHTTPURLs, etcdapi.OnlyHTTP); err != nil {
		return l, err
	}
	if l.scrapers, err = c.listenOn(nil, c.listenMetricsURLs, ""); err != nil {
		return l, err
	}
	l.members, err = c.listenOn(nil, c.listenPeerURLs, "", transport.WithTimeout(rafthttp.ConnReadTimeout, rafthttp.ConnWriteTimeout))
	return l, err
}

// foldSchemes returns the URLs with one for each address, and the addresses that have
// been given with a handshake and without.
func foldSchemes(urls types.URLs) (once types.URLs, both map[string]bool) {
	first, both := map[string]bool{}, map[string]bool{} // of addresses, isSecure of the URL
	for _, u := range urls {
		secure, known := first[address(u)]
		if known && secure != isSecure(u) {
			both[address(u)] = true
			continue
		}
		first[address(u)] = isSecure(u)
		once = append(once, u)
	}
	return once, both
}

// address is where a URL is listened on.
func address(u url.URL) string {
	if isSocket(u) {
		return "unix:" + socketPath(u)
	}
	return u.Host
}

// listenOn adds listeners on URLs to those that are open.
func (c *config) listenOn(to []listener, urls types.URLs, traffic etcdapi.Traffic, opts ...transport.ListenerOption) ([]listener, error) {
	if !c.sockets.Empty() {
		opts = append(opts, transport.WithSocketOpts(&c.sockets))
	}
	for _, u := range urls {
		var l net.Listener
		var err error
		if isSocket(u) {
			l, err = listenSocket(socketPath(u))
		} else {
			// Hands are shaken above it.
			l, err = transport.NewListenerWithOpts(u.Host, "http", opts...)
		}
		if err != nil {
			return to, fmt.Errorf("listen on %s: %w", u.String(), err)
		}
		to = append(to, listener{socket: l, secure: isSecure(u), traffic: traffic})
	}
	return to, nil
}

func isSocket(u url.URL) bool { return u.Scheme == "unix" || u.Scheme == "unixs" }

// socketPath is the file of a socket: unix:///run/k.sock names /run/k.sock, and
// unix://k.sock a file in the working directory.
func socketPath(u url.URL) string { return u.Host + u.Path }

// listenSocket listens on a file, which a process that was killed may have left
// behind. One that somebody listens on, or that is no socket, is left alone.
func listenSocket(path string) (net.Listener, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return net.Listen("unix", path)
	case err != nil:
		return nil, err
	case info.Mode().Type() != os.ModeSocket:
		return nil, errors.New("the file is there and is no socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return nil, errors.Join(syscall.EADDRINUSE, conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// close closes listeners; one that its server has closed is not an error.
func (l listeners) close() {
	for _, open := range slices.Concat(l.clients, l.scrapers, l.members) {
		_ = open.socket.Close()
	}
}
