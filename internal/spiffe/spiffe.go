// SPDX-License-Identifier: Apache-2.0

// Package spiffe gives programs on this machine an identity: it serves the SPIFFE
// Workload API on a unix socket (SPIFFE Workload Endpoint and Workload API
// specifications). A program asks who it is, and gets a certificate (X.509-SVID) with its
// key, and what to trust; before half of the certificate's life is over it gets the next.
//
// Nobody signs in. The kernel says which user and which process is at the other end, and
// the configuration says which identity that has. What tells programs apart for certain is
// their user. The path and the digest of a program's file tell programs of one user
// apart as long as they are honest: a program can start another one and take its
// connection over, and no check of a running process can see that.
//
// The key of an SVID is made here, because the API demands it; it is in memory until it is
// sent, and nowhere else. Every stream gets a key of its own, so a key is held
// by one process.
package spiffe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// CA is what this package needs of package ca: *ca.CA.
type CA interface {
	Issue(ctx context.Context, who gate.Actor, request ca.Request) (ca.Certificate, error)
	Find(ctx context.Context, serial ca.Serial) (ca.Certificate, error)
	Signing(ctx context.Context, name, kind string) (ca.Authority, error)
	Authorities(ctx context.Context) ([]ca.Authority, error)
}

// Gate keeps the record of who was turned away: *gate.Gate.
type Gate interface {
	Refuse(ctx context.Context, actor gate.Actor, action gate.Action, object string, reason error) error
}

// A Workload is a program and its identity. All that is set must be so.
type Workload struct {
	ID       spiffeid.ID
	User     *uint32 // by its number
	Group    *uint32 // its effective one when it connected
	Path     string  // of the program's file, absolute
	SHA256   string  // of the program's file, in hexadecimal
	Profile  string  // "" is DefaultProfile
	Lifetime time.Duration
}

// DefaultProfile is what certificates of workloads are like.
const DefaultProfile = "spiffe"

// Config is what New needs.
type Config struct {
	CA        CA
	Gate      Gate
	Socket    string
	Authority string // that signs; "" is the only one that does
	Workloads []Workload
	Now       func() time.Time
	// Look is how often streams look whether there is something new to say; 0 is 5 seconds.
	Look time.Duration
	// Failed is told of errors that are not the caller's doing; it may be nil.
	Failed func(error)
}

// A Server serves the Workload API. Make one with New.
type Server struct {
	Config
	workload.UnimplementedSpiffeWorkloadAPIServer

	digests digests
	mu      sync.Mutex
	budgets map[spiffeid.ID]*budget // guarded by mu
}

// look is how soon a stream hears of a recall or a rollover.
const look = 5 * time.Second

// New returns the server. It does nothing until Run.
func New(c Config) *Server {
	if c.Look <= 0 {
		c.Look = look
	}
	return &Server{Config: c, budgets: map[spiffeid.ID]*budget{}, digests: digests{known: map[fileID]string{}}}
}

// Bounds of what callers can take of the server.
const (
	maxMessage = 64 << 10 // bytes of a request
	maxStreams = 100      // at a time on one connection
	handshake  = 5 * time.Second
)

// Run serves until ctx ends, and removes the socket.
func (s *Server) Run(ctx context.Context) error {
	listener, err := listen(ctx, s.Socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(attestation{}), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(handshake),
		grpc.UnaryInterceptor(checkUnary), grpc.StreamInterceptor(checkStream))
	workload.RegisterSpiffeWorkloadAPIServer(server, s)
	stop := context.AfterFunc(ctx, server.Stop) // streams never end by themselves
	defer stop()
	err = server.Serve(listener) // closes the listener, which removes the socket
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("couldn't serve the Workload API: %w", err)
}

// maxPath is the longest name of a unix socket, in bytes (unix(7)).
const maxPath = 107

// listen makes the socket. Everybody may connect: who they are is found out then. A
// socket that nobody listens at is from a server that was killed, and is removed.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%w: the path of the socket has %d bytes; at most %d can be", tallystick.ErrInvalid, len(path), maxPath)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("couldn't look for the socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, problem.With(fmt.Errorf("%w: there is a file at %s that is no socket", tallystick.ErrInvalid, path), "choose another path for issuing.spiffe.socket")
	default:
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, problem.With(fmt.Errorf("couldn't listen at %s: %w", path, err), "make the directory "+filepath.Dir(path)+", writable for Tallystick alone")
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't open the socket to others: %w", err), listener.Close())
	}
	return listener, nil
}

func removeStale(ctx context.Context, path string) error {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return problem.With(fmt.Errorf("the socket %s: %w", path, tallystick.ErrInUse), "stop the other program, or choose another path for issuing.spiffe.socket")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("couldn't find out who is at the socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("couldn't remove an old socket: %w", err)
	}
	return nil
}
