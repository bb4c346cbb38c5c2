// SPDX-License-Identifier: Apache-2.0

package sigma_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/sigma"
)

// cloudRules are n rules about one log, of the kinds that public collections
// have: most want one operation, some of them list exceptions, some look into a
// text, and one in a hundred has nothing that can be looked up.
func cloudRules(tb testing.TB, n int) []*sigma.Rule {
	tb.Helper()
	var rules []*sigma.Rule
	for i := range n {
		text := fmt.Sprintf("title: R%d\nlogsource: {product: aws, service: cloudtrail}\ndetection:\n", i)
		switch {
		case i%100 == 0:
			text += fmt.Sprintf("  s:\n    userAgent|contains: ['tool%d', 'kit%d']\n  condition: s\n", i, i)
		case i%3 == 0:
			text += fmt.Sprintf("  s:\n    eventSource: 'service%d.amazonaws.com'\n    eventName: ['Put%d', 'Delete%d']\n  f:\n    userIdentity.arn|contains: ':role/ci'\n  condition: s and not f\n", i%50, i, i)
		case i%3 == 1:
			text += fmt.Sprintf("  s:\n    eventName|startswith: 'Get%d'\n    eventSource: 'service%d.amazonaws.com'\n  condition: s\n", i, i%50)
		default:
			text += fmt.Sprintf("  s:\n    eventName: Create%d\n  t:\n    requestParameters.policy|re: '\"\\*\"'\n  condition: s and t\n", i)
		}
		more, err := sigma.Compile([]byte(text), sigma.Options{})
		if err != nil {
			tb.Fatal(err)
		}
		rules = append(rules, more...)
	}
	return rules
}

// call is a record of CloudTrail.
func call(i int) string {
	return fmt.Sprintf(`{"eventVersion":"1.09","userIdentity":{"type":"IAMUser","principalId":"AIDA%d","arn":"arn:aws:iam::111122223333:user/u%d","accountId":"111122223333","accessKeyId":"AKIAEXAMPLE%d","userName":"u%d","sessionContext":{"attributes":{"creationDate":"2026-11-20T09:00:00Z","mfaAuthenticated":"false"}}},"eventTime":"2026-11-20T10:%02d:%02dZ","eventSource":"service%d.amazonaws.com","eventName":"Put%d","awsRegion":"eu-west-1","sourceIPAddress":"198.51.100.%d","userAgent":"aws-cli/2.15.0 Python/3.11","requestParameters":{"bucketName":"b","policy":"{\"Principal\":\"*\"}"},"responseElements":null,"requestID":"r%d","eventID":"e%d","readOnly":false,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"}`,
		i, i, i, i, i/60%60, i%60, i%60, i%4000, i%250, i, i)
}

// BenchmarkSet evaluates rules over records that are read already; ns/op is for
// one event on one core.
func BenchmarkSet(b *testing.B) {
	var events []*sigma.Record
	for i := range 1000 {
		events = append(events, sigma.NewRecord(call(i), "cloudtrail"))
	}
	for _, n := range []int{100, 3000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) { benchmark(b, cloudRules(b, n), events) })
	}
	b.Run("rules=3000/one-by-one", func(b *testing.B) {
		rules := cloudRules(b, 3000)
		defer perCore(b)()
		for i := 0; b.Loop(); i++ {
			for _, r := range rules {
				r.Match(events[i%len(events)])
			}
		}
	})
}

func benchmark(b *testing.B, rules []*sigma.Rule, events []*sigma.Record) {
	set, err := sigma.NewSet(rules, sigma.SetOptions{Tolerance: sigma.DefaultTolerance})
	if err != nil {
		b.Log(err)
	}
	defer perCore(b)()
	for i := 0; b.Loop(); i++ {
		set.Event(events[i%len(events)], time.Unix(int64(i), 0))
	}
}

// perCore returns what reports events by the CPU time of the whole process, so
// that the collector counts and other programs do not.
func perCore(b *testing.B) func() {
	from := cpu(b)
	return func() { b.ReportMetric(float64(b.N)/(cpu(b)-from).Seconds(), "events/s/core") }
}

func cpu(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkRecord reads records.
func BenchmarkRecord(b *testing.B) {
	text := call(1)
	b.SetBytes(int64(len(text)))
	defer perCore(b)()
	for b.Loop() {
		sigma.NewRecord(text, "cloudtrail")
	}
}
