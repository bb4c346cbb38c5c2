// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/issuing/issuingtest"
)

// BenchmarkIssueCall is what the call costs around the making of the certificate:
// as a call of the API, and as a handler that does nothing else than read and write JSON.
func BenchmarkIssueCall(b *testing.B) {
	body, err := json.Marshal(object{"csr": issuingtest.CSR(b, "www.example.net"), "authority": "lab", "profile": "server"})
	if err != nil {
		b.Fatal(err)
	}
	pem := strings.Repeat("MIIBszCCAVmgAwIBAgIUAaIDIKIAzbUr7dlZcK3OBA0wCgYIKoZIzj0EAwIwDjEM\n", 12)
	made := issuedBody{Serial: "01a20320a200cdb52bedd95970cade04", NotAfter: now, Certificate: pem, Chain: pem}
	stub := func(_ context.Context, _ gate.Actor, in *issueInput) (issuedBody, error) {
		_ = ca.Request{CSR: []byte(in.Body.CSR)}
		return made, nil
	}
	mux := http.NewServeMux()
	call(newAPI(mux, &Server{Config: Config{Log: slog.New(slog.DiscardHandler)}}), "POST", "/certificates", "issue", "Issue a certificate", stub)
	plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in issueInput
		if err := json.NewDecoder(r.Body).Decode(&in.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := stub(r.Context(), gate.Actor{}, &in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(out); err != nil {
			b.Error(err)
		}
	})
	for name, handler := range map[string]http.Handler{"call": mux, "plain": plain} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "https://localhost"+apiRoot+"/certificates", strings.NewReader(string(body)))
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}

// BenchmarkIssue is the whole way of a request but TLS: the layers, the token, the
// gate, the policy, the signature, the lints, and the store. It reports the CPU time
// of the process for each certificate; requests come from 16 clients at a time.
func BenchmarkIssue(b *testing.B) {
	f := onSQLite(b)
	post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities", object{"name": "lab"})
	var bodies []string
	for range 64 {
		body, err := json.Marshal(object{"csr": issuingtest.CSR(b, "www.example.net"), "authority": "lab", "profile": "server"})
		must(b, err)
		bodies = append(bodies, string(body))
	}
	var before, after syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			if w := f.ask(gate.Operator, http.MethodPost, "/api/v1/certificates", bodies[n%len(bodies)]); w.Code != http.StatusOK {
				b.Error(w.Body)
				return
			}
		}
	})
	b.StopTimer()
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	cpu := func(r syscall.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }
	b.ReportMetric(float64(cpu(after)-cpu(before))/float64(b.N)/1e3, "cpu-us/op")
}
