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
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/tallystick/tallystick"
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
		return nil, fault(fmt.Sprintf("http-%d", response.StatusCode), "%s", clean(response.Status))
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
	return fault("other-host", "it leads to %s://%s; name that in the option hosts if it may be asked", clean(u.Scheme), clean(u.Host))
}

// word says in one word why a document was not seen.
func word(err error) string {
	var told *lookError
	var lookup *net.DNSError
	var timeout net.Error
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
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.As(err, &lookup):
		return "no-such-host"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	return "unreadable"
}

// miss tells the sink of something at a place that was not seen.
func (l *look) miss(place tallystick.Place, err error) error {
	return l.sink.Missed(tallystick.Miss{Place: place, Error: word(err), Detail: clean(err.Error()), Seen: l.now()})
}

// clean makes text that may quote a document fit for a terminal and a log.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:297], "") + "..."
	}
	return text
}
