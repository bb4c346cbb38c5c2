// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// newClient returns one that knows the certificate of the server, which has to be there.
func (p *program) newClient() (*http.Client, error) {
	text, err := os.ReadFile(filepath.Join(p.dir, "data", "server.pem"))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificate of Tallystick: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%w: the certificate of Tallystick cannot be read", tallystick.ErrDamaged)
	}
	return &http.Client{
		Timeout: 15 * time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// signIn uses a link up, as a browser does, and returns a client that is signed in.
func (p *program) signIn(ctx context.Context, link string) (*http.Client, error) {
	client, err := p.newClient()
	if err != nil {
		return nil, err
	}
	if client.Jar, err = cookiejar.New(nil); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.root+"/sign-in/"+link, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign in: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSeeOther {
		return nil, fmt.Errorf("%w: couldn't sign in: %s", tallystick.ErrDenied, response.Status)
	}
	return client, nil
}

// maxAnswer bounds an answer of the API, in bytes.
const maxAnswer = 64 << 20

// ask calls the API as somebody. body and into may be nil.
func (p *program) ask(ctx context.Context, who *http.Client, method, path string, body, into any) error {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, p.root+"/api/v1"+path, reader)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := who.Do(request)
	if err != nil {
		return fmt.Errorf("couldn't ask %s %s: %w", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		const most = 1000
		return fmt.Errorf("%w: %s %s: %s: %.*s", tallystick.ErrUnavailable, method, path, response.Status, most, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// A usedRecord is one record of a use, as the API tells it.
type usedRecord struct {
	Key     string         `json:"key"`
	Verdict string         `json:"verdict"`
	Use     tallystick.Use `json:"use"`
}

// tenant returns the tenant at which it was: relying parties are called
// "entra:TENANT/RESOURCE".
func (r usedRecord) tenant() string {
	rest, _ := strings.CutPrefix(r.Use.RelyingParty, "entra:")
	tenant, _, _ := strings.Cut(rest, "/")
	return tenant
}

// eachPage reads a list to its end.
func (p *program) eachPage(ctx context.Context, path string, query url.Values, do func(json.RawMessage) error) error {
	query.Set("limit", "500")
	for {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next"`
		}
		if err := p.ask(ctx, p.opener, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, one := range page.Items {
			if err := do(one); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
}

// uses lists records, the newest first.
func (p *program) uses(ctx context.Context, query url.Values) ([]usedRecord, error) {
	var all []usedRecord
	err := p.eachPage(ctx, "/uses", query, func(text json.RawMessage) error {
		var one usedRecord
		err := json.Unmarshal(text, &one)
		all = append(all, one)
		return err
	})
	return all, err
}

// foreign lists uses of a credential that its holder did not make.
func (p *program) foreign(ctx context.Context, credential tallystick.Fingerprint) ([]usedRecord, error) {
	return p.uses(ctx, url.Values{"verdict": {string(tallystick.VerdictForeign)}, "credential": {string(credential)}})
}

// refusedFrom counts the uses from an address since a time that were refused.
func (p *program) refusedFrom(ctx context.Context, address string, since time.Time) (int, error) {
	list, err := p.uses(ctx, url.Values{"address": {address}, "from": {since.UTC().Format(time.RFC3339Nano)}})
	n := 0
	for _, one := range list {
		if one.Use.Outcome != tallystick.OutcomeSuccess {
			n++
		}
	}
	return n, err
}

// readTenants returns the tenants whose sign-in log is read and closed up to some time.
func (p *program) readTenants(ctx context.Context) (map[string]bool, error) {
	var list struct {
		Items []struct {
			Source string `json:"source"`
			Side   string `json:"side"`
			Closed time.Time
		} `json:"items"`
	}
	if err := p.ask(ctx, p.opener, http.MethodGet, "/books", nil, &list); err != nil {
		return nil, err
	}
	read := map[string]bool{}
	for _, book := range list.Items {
		if tenant, is := strings.CutPrefix(book.Source, tenantSource); is && book.Side == string(tallystick.SideRelying) && !book.Closed.IsZero() {
			read[tenant] = true
		}
	}
	return read, nil
}
