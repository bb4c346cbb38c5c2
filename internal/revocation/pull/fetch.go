// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/revocation"
)

const (
	// maxList bounds a list: five million entries.
	maxList = 256 << 20
	// patience is how long a download may take.
	patience = 2 * time.Minute
)

// A kept is what a URL answered last.
type kept struct {
	etag string
	body []byte
}

// newClient makes a client that also knows a server by the CAs whose lists are fetched, and that follows no
// redirect to a host that nobody has named.
func newClient(cas []*x509.Certificate) *http.Client {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, ca := range cas {
		roots.AddCert(ca)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}, IdleConnTimeout: time.Minute}
	return &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || r.URL.Host != via[0].URL.Host {
			return errors.New("it leads elsewhere")
		}
		return nil
	}}
}

// get fetches a URL, or takes what it answered before when that is still so.
func (p *Puller) get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || request.URL.Scheme != "http" && request.URL.Scheme != "https" {
		return nil, problem.With(fmt.Errorf("%w: %q is no URL of a list", tallystick.ErrInvalid, address), "write it as http://HOST/PATH or https://HOST/PATH")
	}
	have := p.kept[address]
	if have.etag != "" {
		request.Header.Set("If-None-Match", have.etag)
	}
	body, etag, err := p.fetch(request, have)
	if err != nil {
		return nil, problem.With(fmt.Errorf("couldn't fetch %s: %w", request.URL.Redacted(), err), "see whether the URL is right, and whether its server can be reached from here")
	}
	p.kept[address] = kept{etag: etag, body: body}
	return body, nil
}

// fetch makes the request; have is what it answered before.
func (p *Puller) fetch(request *http.Request, have kept) ([]byte, string, error) {
	response, err := p.client.Do(request)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // which does not repeat the URL
		}
		return nil, "", err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotModified && have.body != nil {
		return have.body, have.etag, nil
	}
	if response.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("it answers %s", response.Status)
	}
	body, err := readAll(response.Body, response.ContentLength)
	return body, response.Header.Get("ETag"), err
}

// readAll reads a body that is about size long, and no more than a list can be.
func readAll(in io.Reader, size int64) ([]byte, error) {
	var body bytes.Buffer
	if size > 0 && size <= maxList {
		body.Grow(int(size) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(in, maxList+1))
	if n > maxList {
		return nil, fmt.Errorf("%w: it is larger than %d MB", tallystick.ErrInvalid, maxList>>20)
	}
	return body.Bytes(), err
}

// readFile reads a file of lists.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAll(file, 0)
}

// ReadFile reads the lists of a file, in DER or PEM.
func ReadFile(path string) ([]*revocation.List, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the lists: %w", err)
	}
	lists, err := listsIn(text)
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	return lists, nil
}

// listsIn reads the lists of a text: one in DER, or any number in PEM.
func listsIn(text []byte) ([]*revocation.List, error) {
	if len(text) > 0 && text[0] == 0x30 {
		l, err := revocation.ReadList(text)
		return []*revocation.List{l}, err
	}
	var all []*revocation.List
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		l, err := revocation.ReadList(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	if all == nil {
		return nil, fmt.Errorf("%w: there is no list of revoked certificates in it", tallystick.ErrInvalid)
	}
	return all, nil
}
