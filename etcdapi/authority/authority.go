// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/auth"
	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"keelson.io/keelson/sqlstore"
)

// Options of an Authority.
type Options struct {
	// Logger. Default: none.
	Logger *zap.Logger
	// Token says which tokens clients get, with options, as --auth-token: "simple" or
	// "jwt,...". Empty: none.
	Token string
	// TokenTTL is how long a simple token lives after its last use. Default: 300 seconds.
	TokenTTL time.Duration
	// BcryptCost is the strength of the hashes of passwords. One that bcrypt does not
	// know is replaced by its default, with a warning.
	BcryptCost int
	// ClientCertAuth takes the common name of a client's verified certificate for its
	// user, unless it has a token.
	ClientCertAuth bool
}

// DefaultTokenTTL is etcd's.
const DefaultTokenTTL = 300 * time.Second

// SimpleToken is the Token that etcd has by default.
const SimpleToken = "simple"

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = DefaultTokenTTL
	}
}

// rootUser may do everything.
const rootUser = "root"

// Authority is etcd's auth store over a store's tables. It is made before the store,
// which is opened with it and makes it complete.
type Authority struct {
	opts    Options
	tokens  auth.TokenProvider
	waiter  *waiter
	store   *sqlstore.Store
	users   atomic.Pointer[auth.AuthStore] // another one after each snapshot
	enabled atomic.Bool
	// epoch is odd while the store is replaced by a snapshot.
	epoch atomic.Uint64
}

var _ sqlstore.Authority = (*Authority)(nil)

// New returns an Authority for a store that is yet to be opened. Errors: etcd's of bad
// options of tokens.
func New(opts Options) (*Authority, error) {
	opts.setDefaults()
	a := &Authority{opts: opts, waiter: newWaiter()}
	var err error
	if a.tokens, err = auth.NewTokenProvider(opts.Logger, opts.Token, a.waiter.waitForToken, opts.TokenTTL); err != nil {
		return nil, fmt.Errorf("--auth-token=%s: %w", opts.Token, err)
	}
	return a, nil
}

// EndWaiting has clients that wait for their token's entry told that it is invalid.
func (a *Authority) EndWaiting() { a.waiter.close() }

// Close ends what runs in the background, and all tokens.
func (a *Authority) Close() {
	a.EndWaiting()
	if users := a.users.Load(); users != nil {
		_ = (*users).Close() // has no errors
	}
}

// Users returns etcd's auth store over the tables as they are now.
func (a *Authority) Users() auth.AuthStore { return *a.users.Load() }

// Enabled reports whether clients must say who they are.
func (a *Authority) Enabled() bool { return a.enabled.Load() }

// Disabled reports whether nobody has to say who they are; what was read since then is
// for everybody if StillDisabled says so of the epoch.
func (a *Authority) Disabled() (epoch uint64, disabled bool) {
	epoch = a.epoch.Load()
	return epoch, epoch%2 == 0 && !a.Enabled()
}

// StillDisabled reports whether nobody has had to say who they are since an epoch: it
// was neither enabled, nor have all users and roles been replaced.
func (a *Authority) StillDisabled(epoch uint64) bool { return !a.Enabled() && a.epoch.Load() == epoch }

// rootKey marks the contexts of what the server does itself.
type rootKey struct{}

// AsRoot returns a context for what the server does itself and may do whoever the
// users are.
func AsRoot(ctx context.Context) context.Context { return context.WithValue(ctx, rootKey{}, true) }

// Info returns who makes a request, nil for nobody that is known; always nil while
// authentication is disabled, when it does not matter. Errors: auth.ErrInvalidAuthToken.
func (a *Authority) Info(ctx context.Context) (*auth.AuthInfo, error) {
	if !a.Enabled() {
		return nil, nil
	}
	if ctx.Value(rootKey{}) != nil {
		return &auth.AuthInfo{Username: rootUser, Revision: a.Users().Revision()}, nil
	}
	info, err := a.Users().AuthInfoFromCtx(ctx)
	if info != nil || err != nil || !a.opts.ClientCertAuth {
		return info, err
	}
	// etcd's method takes every connection for one by TLS.
	if p, ok := peer.FromContext(ctx); !ok || !isTLS(p.AuthInfo) {
		return nil, nil
	}
	return a.Users().AuthInfoFromTLS(ctx), nil
}

func isTLS(info credentials.AuthInfo) bool {
	_, ok := info.(credentials.TLSInfo)
	return ok
}

// CertificatesAreUsers says whether a client's certificate tells who it is.
func (a *Authority) CertificatesAreUsers() bool { return a.opts.ClientCertAuth && a.Enabled() }

// someone is Info, with an AuthInfo of nobody in particular in the place of nil.
func (a *Authority) someone(ctx context.Context) (*auth.AuthInfo, error) {
	info, err := a.Info(ctx)
	if info == nil {
		info = &auth.AuthInfo{}
	}
	return info, err
}

// RequireUser refuses clients that do not say who they are.
func (a *Authority) RequireUser(ctx context.Context) error {
	if !a.Enabled() {
		return nil
	}
	info, err := a.Info(ctx)
	if err == nil && info == nil {
		err = auth.ErrUserEmpty
	}
	return err
}

// RequireAdmin refuses clients without the role root.
func (a *Authority) RequireAdmin(ctx context.Context) error {
	if !a.Enabled() {
		return nil
	}
	info, err := a.Info(ctx)
	if err != nil {
		return err
	}
	return a.Users().IsAdminPermitted(info)
}

// RequireRange refuses clients that may not read all of a range, which is as in a
// client's request.
func (a *Authority) RequireRange(ctx context.Context, key, rangeEnd []byte) error {
	if !a.Enabled() {
		return nil
	}
	info, err := a.someone(ctx)
	if err != nil {
		return err
	}
	return a.Users().IsRangePermitted(info, key, rangeEnd)
}

// Read has get read from the store if check permits it to the client, and fails with
// auth.ErrAuthOldRevision if users and roles changed meanwhile. get's error comes first
// if it can't be both.
func (a *Authority) Read(ctx context.Context, check func(*auth.AuthInfo) error, get func() error) error {
	return a.ReadInParts(ctx, check, func(func() error) error { return get() })
}

// ReadInParts is Read for what is sent while it is read: get calls its argument when it
// has read a part and before it sends that, and gives up with the error if there is one.
func (a *Authority) ReadInParts(ctx context.Context, check func(*auth.AuthInfo) error, get func(unchanged func() error) error) error {
	if epoch, disabled := a.Disabled(); disabled {
		unchanged := func() error {
			if !a.StillDisabled(epoch) {
				return auth.ErrAuthOldRevision
			}
			return nil
		}
		return since(unchanged, get(unchanged))
	}
	unchanged := a.fromNow()
	info, err := a.someone(ctx)
	if err != nil {
		return err
	}
	if err := check(info); err != nil {
		return err
	}
	if info.Revision != 0 && info.Revision != a.Users().Revision() {
		return auth.ErrAuthOldRevision
	}
	return since(unchanged, get(unchanged))
}

// since returns err, unless there was a change.
func since(unchanged func() error, err error) error {
	if changed := unchanged(); changed != nil {
		return changed
	}
	return err
}

// fromNow returns what fails with auth.ErrAuthOldRevision once users or roles are others
// than they are now.
func (a *Authority) fromNow() func() error {
	epoch, revision := a.epoch.Load(), a.Users().Revision()
	return func() error {
		if epoch%2 != 0 || a.epoch.Load() != epoch || a.Users().Revision() != revision {
			return auth.ErrAuthOldRevision
		}
		return nil
	}
}

// errNoSecret is nobody's answer: see authenticate.
var errNoSecret = errors.New("authority: request for a simple token without a secret part")

// errUnknownRequest can't be: the store asks only for what Apply knows.
var errUnknownRequest = errors.New("authority: request is not about users and roles")
