// SPDX-License-Identifier: Apache-2.0

package issuing_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
	"github.com/tallystick/tallystick/internal/lab"
)

// reach starts a server and returns a client of it.
func reach(t *testing.T, handler http.HandlerFunc, secrets ...driver.Secret) (*issuing.Client, string) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	client, err := issuing.Settings{
		URL: server.URL, Secrets: secrets, Roots: lab.File(t, "roots.pem", lab.CertificatePEM(server.Certificate().Raw)),
	}.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, server.URL
}

func TestRedirectIsAnAnswer(t *testing.T) {
	client, url := reach(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			t.Errorf("%s was asked for", r.URL.Path)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	status, _, err := client.Do(t.Context(), http.MethodGet, url+"/", nil, nil)
	if err != nil || status != http.StatusFound {
		t.Errorf("%d, %v", status, err)
	}
	if text := client.Refused(status, "").Error(); !strings.Contains(text, "redirect") {
		t.Error(text)
	}
}

func TestOtherHostsAreNotAsked(t *testing.T) {
	client, url := reach(t, func(http.ResponseWriter, *http.Request) {})
	for _, other := range []string{"https://localhost:1/", strings.Replace(url, "https", "http", 1), strings.Replace(url, "https://", "https://me@", 1), "file:///etc/passwd"} {
		if _, _, err := client.Do(t.Context(), http.MethodGet, other, nil, nil); !errors.Is(err, issuing.ErrOtherHost) {
			t.Errorf("%s gives %v", other, err)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	client, url := reach(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("a", 5<<20))
	})
	if _, body, err := client.Do(t.Context(), http.MethodGet, url, nil, nil); !errors.Is(err, tallystick.ErrUnavailable) || len(body) > 0 {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

func TestUnknownRootIsNamed(t *testing.T) {
	_, url := reach(t, func(http.ResponseWriter, *http.Request) {})
	client, err := issuing.Settings{URL: url, Roots: lab.NewPKI(t).RootFile}.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Do(t.Context(), http.MethodGet, url, nil, nil); !errors.Is(err, tallystick.ErrUnavailable) || !strings.Contains(err.Error(), "option roots") {
		t.Errorf("it says %v", err)
	}
}

func TestKindsOfRefusals(t *testing.T) {
	client, _ := reach(t, func(http.ResponseWriter, *http.Request) {}, driver.NewSecret("hunter2"))
	for status, kind := range map[int]error{
		400: tallystick.ErrInvalid, 401: tallystick.ErrDenied, 403: tallystick.ErrDenied, 404: tallystick.ErrInvalid, 409: tallystick.ErrInvalid,
		412: tallystick.ErrUnavailable, 429: tallystick.ErrUnavailable, 500: tallystick.ErrUnavailable, 503: tallystick.ErrUnavailable,
	} {
		err := client.Refused(status, "no\x1b[2J to hunter2 "+strings.Repeat("a", 1000))
		if !errors.Is(err, kind) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 500 {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "soon": {}, "-1": {}, "90": now.Add(90 * time.Second), "99999999999999999999": {}, "4000000000": now.AddDate(0, 0, 7),
		"Sun, 22 Nov 2026 13:00:00 GMT": now.Add(time.Hour), "Sun, 22 Nov 2126 13:00:00 GMT": now.AddDate(0, 0, 7),
	} {
		client, url := reach(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", text) })
		if _, _, err := client.Do(t.Context(), http.MethodGet, url, nil, nil); err != nil {
			t.Fatal(err)
		}
		if got := client.RetryAfter(now); !got.Equal(want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestContextEndsARequest(t *testing.T) {
	client, url := reach(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := client.Do(ctx, http.MethodGet, url, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it says %v", err)
	}
}
