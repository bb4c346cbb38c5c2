// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// What is read of one document, in bytes. The metadata of all federations of the
// world together have some 100 MB; a key set has a few KiB.
const (
	maxXML  = 256 << 20
	maxJSON = 4 << 20
)

// A lookError says in a word why a document, or a part of it, was not seen.
type lookError struct{ word, detail string }

func (e *lookError) Error() string { return e.detail }

func fault(word, format string, args ...any) error {
	return &lookError{word: word, detail: fmt.Sprintf(format, args...)}
}

// openFile opens a file. It does not wait for the other end of a pipe.
func openFile(path string) (io.ReadCloser, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, fault("not-regular", "%s is not a regular file", path)
	}
	return file, nil
}

// maxAddresses bounds how many addresses of one host are tried.
const maxAddresses = 4

// dial connects to the first address of a host that lets it. What then stands
// may be used for the timeout; each document has a connection of its own.
func (l *look) dial(ctx context.Context, _, hostPort string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%s is no port", port)
	}
	addresses, err := l.dialer.Resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, address := range addresses[:min(len(addresses), maxAddresses)] {
		conn, err := l.dialer.Dial(ctx, netip.AddrPortFrom(address, uint16(number)))
		if err == nil {
			err = conn.SetDeadline(time.Now().Add(l.dialer.Timeout))
		}
		if err == nil {
			return conn, nil
		}
		if failed == nil {
			failed = err
		}
	}
	return nil, failed
}

// get asks for a document on behalf of a target.
func (l *look) get(ctx context.Context, t target, u *url.URL) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "Tallystick (inventory of certificates and keys)")
	request.Header.Set("Accept", "application/samlmetadata+xml, application/jwk-set+json, application/json, application/xml;q=0.9, */*;q=0.1")
	client := http.Client{Transport: l.transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > 5 {
			return fault("redirected", "more than 5 redirects")
		}
		if err := l.mayAsk(t, next.URL); err != nil {
			return fault("redirected", "%s", err)
		}
		return nil
	}}
	response, err := client.Do(request)
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return nil, wrapped.Err // without the URL, whose query may be nobody's business
	}
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fault(fmt.Sprintf("http-%d", response.StatusCode), "%s", network.Clean(response.Status))
	}
	return response.Body, nil
}

// mayAsk refuses a URL that a document or a server gave, and not the operator,
// unless it stays on the host and port of the target or of the option hosts.
func (l *look) mayAsk(t target, u *url.URL) error {
	here := t.url != nil && u.Scheme == t.url.Scheme && hostOf(u) == hostOf(t.url)
	if u.User == nil && u.Opaque == "" && (here || u.Scheme == "https" && slices.Contains(l.hosts, hostOf(u))) {
		return nil
	}
	return fault("other-host", "it leads to %s://%s; name that in the option hosts if it may be asked", network.Clean(u.Scheme), network.Clean(u.Host))
}

// word says in one word why a document was not seen: one of this package, or of
// network.Word.
func word(err error) string {
	var told *lookError
	var untrusted *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &told):
		return told.word
	case errors.Is(err, fs.ErrNotExist):
		return "not-found"
	case errors.Is(err, fs.ErrPermission):
		return "denied"
	case errors.As(err, &untrusted), errors.As(err, &unknown):
		return "untrusted"
	case errors.As(err, &header), errors.Is(err, http.ErrSchemeMismatch):
		return "not-tls"
	}
	return network.Word(err)
}

// miss tells the sink of something at a place that was not seen.
func (l *look) miss(place tallystick.Place, err error) error {
	return l.sink.Missed(tallystick.Miss{Place: place, Error: word(err), Detail: network.Clean(err.Error()), Seen: l.now()})
}
