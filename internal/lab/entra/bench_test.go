// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// processor reports the processor time of each round: other work on the machine does not
// count.
func processor(b *testing.B) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	b.Cleanup(func() { b.ReportMetric(float64((used()-before).Microseconds())/float64(b.N), "cpu-µs/op") })
}

// What the emulator itself costs, without TLS and without a client: the assertion is
// signed once and sent again.
func BenchmarkToken(b *testing.B) {
	for _, opaque := range []bool{false, true} {
		b.Run(fmt.Sprintf("opaque=%v", opaque), func(b *testing.B) {
			c := newCloud(b, entra.Config{Faults: entra.Faults{OpaqueTokens: opaque}})
			form := url.Values{
				"client_id": {c.app.Application.AppID}, "grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"},
				"client_assertion_type": {jwtBearer}, "client_assertion": {c.assertion(vendorKey(), c.cert, nil)},
			}.Encode()
			handler, path := c.world.LoginHandler(), "/"+c.tenant.ID+"/oauth2/v2.0/token"
			b.ResetTimer()
			processor(b)
			for range b.N {
				r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form))
				r.Host = strings.TrimPrefix(c.servers.Login, "https://")
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				answer := httptest.NewRecorder()
				if handler.ServeHTTP(answer, r); answer.Code != http.StatusOK {
					b.Fatal(answer.Body)
				}
			}
		})
	}
}

func BenchmarkGraphCall(b *testing.B) {
	c := newCloud(b, entra.Config{Faults: entra.Faults{NoThrottling: true}}).signedIn()
	handler := c.world.GraphHandler()
	b.ResetTimer()
	processor(b)
	for range b.N {
		r := httptest.NewRequest(http.MethodGet, "/v1.0/applications/"+c.app.Application.ID+"?$select=keyCredentials", nil)
		r.Header.Set("Authorization", "Bearer "+c.token)
		answer := httptest.NewRecorder()
		if handler.ServeHTTP(answer, r); answer.Code != http.StatusOK {
			b.Fatal(answer.Body)
		}
	}
}

// A page of a thousand sign-ins, which is the most that Graph gives at a time.
func BenchmarkSignInPage(b *testing.B) {
	c := newCloud(b, entra.Config{Faults: entra.Faults{NoThrottling: true}}).signedIn()
	c.tenant.Fill(c.app, entra.Graph, 10_000, time.Now().Add(-time.Hour), time.Now())
	handler := c.world.GraphHandler()
	b.ResetTimer()
	processor(b)
	for range b.N {
		r := httptest.NewRequest(http.MethodGet, "/beta/auditLogs/signIns?$filter="+url.QueryEscape(programs), nil)
		r.Header.Set("Authorization", "Bearer "+c.token)
		answer := httptest.NewRecorder()
		if handler.ServeHTTP(answer, r); answer.Code != http.StatusOK {
			b.Fatal(answer.Body)
		}
		n, err := io.Copy(io.Discard, answer.Body)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

// BenchmarkTenants says how much memory a tenant takes with one application, its certificate
// and a person with ten mails; and 1,000 sign-ins of one.
func BenchmarkTenants(b *testing.B) {
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for range b.N {
		before := heap()
		world, err := entra.New(entra.Config{TokenKey: tokenKey()})
		if err != nil {
			b.Fatal(err)
		}
		cert := certificate(b, vendorKey(), "mail sync")
		var app entra.App
		var tenant *entra.Tenant
		for i := range 3600 {
			tenant = world.AddTenant(entra.TenantSpec{Name: fmt.Sprintf("Customer %d", i)})
			app = tenant.AddApplication(entra.AppSpec{Name: "Mail sync", Certificates: [][]byte{cert.Raw}, Grants: []entra.Grant{{API: entra.Graph, Role: "Mail.Read"}}})
			user := tenant.AddUser("anna", "Anna")
			for range 10 {
				tenant.Deliver(user, entra.Message{Subject: "Hello", From: "bob@elsewhere.example", Body: "Hello"})
			}
		}
		tenants := heap()
		b.ReportMetric((tenants-before)/3600/1024, "KiB/tenant")
		tenant.Fill(app, entra.Graph, 100_000, time.Now().Add(-time.Hour), time.Now())
		b.ReportMetric((heap()-tenants)/100_000, "B/sign-in")
		runtime.KeepAlive(world)
	}
}
