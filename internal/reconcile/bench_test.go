// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/tally"
)

var start = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// BenchmarkReconcile reads sign-ins as Graph gives them, 1.5 kB each.
func BenchmarkReconcile(b *testing.B) {
	dir := b.TempDir()
	var holder, relying strings.Builder
	for i := range 20_000 {
		at := start.Add(time.Duration(i) * time.Second).Format(time.RFC3339)
		fmt.Fprintf(&holder, `{"v":1,"source":"broker","seq":%d,"side":"holder","level":"token","time":"%s","credential":["entra-key:7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11"],`+
			`"relying_party":"entra:1111/2222","ids":{"uti":"%022d"}}`+"\n", i+1, at, i)
		fmt.Fprintf(&relying, `{"id":"%036d","createdDateTime":"%s","userId":null,"appId":"6131d760-7fda-4db5-8bb1-b771898e9f15","ipAddress":"203.0.113.7",`+
			`"servicePrincipalId":"b029d485-a308-4311-8720-fb3192e5284e","servicePrincipalCredentialKeyId":"7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11",`+
			`"uniqueTokenIdentifier":"%022d","resourceTenantId":"1111","resourceId":"2222","status":{"errorCode":0},%s"last":1}`+"\n",
			i, at, i, strings.Repeat(`"riskLevelDuringSignIn":"none","mfaDetail":null,`, 22))
	}
	inputs := []Input{{Path: filepath.Join(dir, "h"), Side: tallystick.SideHolder}, {Path: filepath.Join(dir, "r"), Side: tallystick.SideRelying}}
	for i, text := range []string{holder.String(), relying.String()} {
		if err := os.WriteFile(inputs[i].Path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(holder.Len() + relying.Len()))
	for b.Loop() {
		files, err := Run(b.Context(), tally.Options{CloseAtEnd: true}, inputs, nil, start)
		if err != nil || files.Result.Summary.Matched != 20_000 {
			b.Fatal(err, files.Result.Summary)
		}
		if err := files.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
