// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/tallystick/tallystick"
)

// A caller is who is at the other end of a connection, as the kernel told when it was
// made. It is closed with the connection.
type caller struct {
	credentials.CommonAuthInfo
	pid      int32
	uid, gid uint32
	process  *process // nil where it cannot be seen from here
}

// AuthType names the way of identification.
func (*caller) AuthType() string { return "unix" }

// String describes the caller for the record.
func (c *caller) String() string {
	return fmt.Sprintf("process %d of user %d, group %d", c.pid, c.uid, c.gid)
}

// attestation finds out who connects, in the place where TLS would.
type attestation struct{}

// ServerHandshake asks the kernel.
func (attestation) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	unix, ok := raw.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.Join(fmt.Errorf("%w: the Workload API is for programs on this machine", tallystick.ErrDenied), raw.Close())
	}
	c, err := identify(unix)
	if err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	c.CommonAuthInfo = credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity} // it never leaves the kernel
	return &attested{Conn: raw, caller: c}, c, nil
}

// ClientHandshake is not for us.
func (attestation) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.ErrUnsupported
}

// Info describes the way of identification.
func (attestation) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

// Clone returns one that is as good.
func (a attestation) Clone() credentials.TransportCredentials { return a }

// OverrideServerName is for clients.
func (attestation) OverrideServerName(string) error { return nil }

// attested is a connection that lets go of its caller when it is closed.
type attested struct {
	net.Conn
	caller *caller
	once   sync.Once
}

func (a *attested) Close() error {
	a.once.Do(a.caller.process.close)
	return a.Conn.Close()
}

// callerOf returns who sent a request.
func callerOf(ctx context.Context) (*caller, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	c, ok := p.AuthInfo.(*caller)
	return c, ok
}

// A fileID names a file as it is now; one that was written to has another.
type fileID struct {
	device, inode uint64
	size          int64
	changed       int64 // nanoseconds
}

// digests remembers those of files: programs are large, and ask often.
type digests struct {
	mu    sync.Mutex
	known map[fileID]string // guarded by mu
}

const (
	maxDigests = 256
	maxProgram = 2 << 30 // bytes
)

// of returns the SHA-256 of a program, in hexadecimal.
func (d *digests) of(file *os.File, id fileID) (string, error) {
	d.mu.Lock()
	sum, ok := d.known[id]
	d.mu.Unlock()
	if ok {
		return sum, nil
	}
	if id.size > maxProgram {
		return "", fmt.Errorf("%w: the program has %d bytes", tallystick.ErrInvalid, id.size)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(file, maxProgram)); err != nil {
		return "", fmt.Errorf("couldn't read a program: %w", err)
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= maxDigests {
		clear(d.known)
	}
	d.known[id] = sum
	return sum, nil
}
