// Command vectors prints what Kubernetes' own code makes of many inputs: quantities, label selectors,
// Accept headers, request paths, and the encodings of every kind of object that the API server answers
// with. The Python tests compare with the printed file; run `go run ./vectors > …/vectors.json` to renew it.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apidiscoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
)

type quantity struct {
	Text      string `json:"text"`
	Canonical string `json:"canonical,omitempty"`
	Milli     int64  `json:"milli"`
	Error     string `json:"error,omitempty"`
}

type selector struct {
	Text      string `json:"text"`
	Canonical string `json:"canonical"`
	Matches   []int  `json:"matches"`
	Error     string `json:"error,omitempty"`
}

type accept struct {
	Header string `json:"header"`
	Type   string `json:"type"`
	Pretty bool   `json:"pretty"`
}

type target struct {
	Method      string `json:"method"`
	Target      string `json:"target"`
	Resource    bool   `json:"is_resource"`
	Verb        string `json:"verb"`
	Path        string `json:"path"`
	Group       string `json:"group"`
	Version     string `json:"version"`
	Namespace   string `json:"namespace"`
	Kind        string `json:"resource"`
	Name        string `json:"name"`
	Subresource string `json:"subresource"`
}

type object struct {
	Name     string `json:"name"`
	JSON     string `json:"json"`
	Protobuf string `json:"protobuf"`
	YAML     string `json:"yaml"`
}

var random = rand.New(rand.NewSource(1))

func main() {
	v := vectors{quantities(), selectors(), accepts(), requests(), objects()}
	fmt.Print("{\n")
	section("quantities", v.Quantities, ",")
	section("selectors", v.Selectors, ",")
	section("labels", labelSets, ",")
	section("accepts", v.Accepts, ",")
	section("requests", v.Requests, ",")
	section("objects", v.Objects, "")
	fmt.Print("}\n")
}

// section writes one entry a line, so that a change shows as one.
func section[T any](name string, entries []T, end string) {
	fmt.Printf("%q: [\n", name)
	for i, entry := range entries {
		var line bytes.Buffer
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(entry); err != nil {
			log.Fatal(err)
		}
		separator := ","
		if i == len(entries)-1 {
			separator = ""
		}
		fmt.Printf("%s%s\n", bytes.TrimSpace(line.Bytes()), separator)
	}
	fmt.Printf("]%s\n", end)
}

type vectors struct {
	Quantities []quantity
	Selectors  []selector
	Accepts    []accept
	Requests   []target
	Objects    []object
}

func quantities() (all []quantity) {
	texts := []string{
		"0", "00", "-0", "+0", "", ".", "+", "-", "1", "1.", ".1", "1.0", "1.5", "1500m", "1501m", "0.1m", "0.0001", "1n", "0.1n", "-0.1n",
		"1u", "1k", "1K", "1M", "1G", "1T", "1P", "1E", "2Ki", "2048", "2047Ki", "1Mi", "1024Ki", "1.5Gi", "1.5Ki", "0.5Ki", "0.5Mi", "1.1Ki",
		"1Ei", "8Ei", "7Ei", "9Ei", "100Ei", "1e3", "1E3", "1e-3", "12e6", "1.2e6", "1e", "1e+3", "1e1", "1e2", "1e-10", "-1e-10", "1e18", "1e21",
		"5e-1", "-5", "-1500m", "-1.5Ki", "1000000", "1234567", "1000001", "123456789012345678", "9223372036854775807", "9223372036854775808",
		"99999999999999999999", "1i", "1ki", "1mi", "1 ", " 1", "1_000", "0x10", "NaN", "Inf", "1e3.5", "1.2.3", "++1", "1-", "1+2", "1m2", "1mm",
		"m", "k", "e3", "Ki", "007", "+7", "1.500", "0.000000001", "0.0000000001", "0.0000000015", "100m", "1000m", "10m", "999m", "999999m", "1e9", "1e0",
	}
	digits := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(byte('0' + random.Intn(10)))
		}
		return b.String()
	}
	suffixes := []string{"", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "e3", "e-3", "E5", "e-7", "e12"}
	for range 600 {
		text := []string{"", "", "", "-", "+"}[random.Intn(5)] + digits(random.Intn(9))
		if random.Intn(2) == 0 {
			text += "." + digits(random.Intn(8))
		}
		texts = append(texts, text+suffixes[random.Intn(len(suffixes))])
	}
	for _, text := range texts {
		q, err := resource.ParseQuantity(text)
		if err != nil {
			all = append(all, quantity{Text: text, Error: err.Error()})
			continue
		}
		number, suffix := q.CanonicalizeBytes(nil)
		milli := q.MilliValue()
		all = append(all, quantity{Text: text, Canonical: string(number) + string(suffix), Milli: milli})
	}
	return all
}

// Labels that every selector is tried on; the Python test has the same list in the file.
var labelSets = []labels.Set{
	{}, {"a": "b"}, {"a": "c"}, {"a": ""}, {"queue": "x"}, {"queue": "x", "kind": "redis-stream"}, {"a": "5"}, {"a": "-5"}, {"a": "b", "b": "c"},
	{"in": "in"}, {"notin": "notin"}, {"example.com/a": "b"},
}

func selectors() (all []selector) {
	texts := []string{
		"", " ", "a", "a=b", "a==b", "a!=b", "a = b", "a in (b)", "a in (b,c)", "a in (c, b ,c)", "a notin (b)", "a in ()", "a in (,)", "a in (,,)", "a in (,b)", "a in (b,)",
		"a in (b,,c)", "a in (b,,)", "a in (,,b)", "a in (b c)", "a in (b", "a in b", "a in", "a in (", "a notin", "in", "in in (in)", "notin notin (notin)", "!a", "! a", "!a=b", "!a in (b)", "!", "!!a",
		"a,b", "a,", ",a", "a,,b", ",", "a=", "a=,b", "a==", "a!=", "a=b=c", "a=b c", "a b", "=", "==", "=b", "!=b", "a===b", "a=!b", "a>5", "a<5", "a>b", "a > 1, a < 9", "a>", "a>5,b<c", "a>=5",
		"(", ")", "a)", "a(", "a in (b))", "a=(b)", "a in (!b)", "a in (=)", "a!b", "a!in(b)", "a in(b)", "a in(b),c", "a\tin\n(b)",
		"example.com/a=b", "example.com/a", "/a", "a/", "a/b/c", "EXAMPLE.com/a", "-a", "a-", "a_b.c-d", "a=-b", "a=b-", "a=b/c", "a=é", "é=a", "a=\"b\"", "a='b'",
		strings.Repeat("a", 63), strings.Repeat("a", 64), "a=" + strings.Repeat("b", 63), "a=" + strings.Repeat("b", 64), strings.Repeat("a", 254) + "/b",
		"a in (" + strings.Repeat("b", 64) + ",-c)", "a\x00b", "a=\x01", "a=\x7f", "a=\u00a0", "queue=x", "queue=x,kind=redis-stream", "kind=redis-stream,queue=x", "b,a,c", "b=1,a=2,b=3", "queue in (x,y),kind!=z",
		"x in (foo,,baz),y,z notin ()", "a=b&c", "a=b;c", "a=%20", "a=b\\", "a=\\\"", "*", "a=*", "a in (*)", "a=.", "a=b.", "a = in", "a in in (b)", "a in (in,notin)", "a=notin", "! in", "!in in", "a<+5", "a>00", "a>99999999999999999999",
	}
	words := []string{"a", "b", "queue", "x", "in", "notin", "example.com/a", "-", "5", "é", "B_", "kind"}
	symbols := []string{"=", "==", "!=", "!", ",", "(", ")", ">", "<", " in ", " notin ", " ", "(", ")", ","}
	for range 1500 {
		var b strings.Builder
		for range 1 + random.Intn(9) {
			if random.Intn(2) == 0 {
				b.WriteString(words[random.Intn(len(words))])
			} else {
				b.WriteString(symbols[random.Intn(len(symbols))])
			}
		}
		texts = append(texts, b.String())
	}
	seen := sets.New[string]()
	for _, text := range texts {
		if seen.Has(text) {
			continue
		}
		seen.Insert(text)
		all = append(all, parse(text))
	}
	return all
}

func parse(text string) (s selector) {
	s = selector{Text: text, Matches: []int{}}
	defer func() {
		if recover() != nil {
			s.Error = "panic"
		}
	}()
	parsed, err := labels.Parse(text)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Canonical = parsed.String()
	for i, set := range labelSets {
		if parsed.Matches(set) {
			s.Matches = append(s.Matches, i)
		}
	}
	return s
}

func accepts() (all []accept) {
	info := func(t, sub string) runtime.SerializerInfo {
		return runtime.SerializerInfo{MediaType: t + "/" + sub, MediaTypeType: t, MediaTypeSubType: sub}
	}
	accepted := []runtime.SerializerInfo{
		info("application", "json"), info("application", "yaml"), info("application", "vnd.kubernetes.protobuf"),
	}
	types := []string{
		"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "*/*", "application/*", "text/html", "application/cbor", "*", "text/*",
		"application", "application/json/x", "", "/", "*/json", "APPLICATION/JSON",
	}
	params := []string{
		"", "", "", ";q=0.5", ";q=0.9", ";q=1", "; q=0.1", ";pretty=1", ";as=Table;v=v1;g=meta.k8s.io", ";charset=utf-8", ";q=abc", ";", ";stream=watch", ";sv=v1", ";export=1", ";q", ";=x", ";a=b=c", ";pretty=0",
		";as=", ";profile=x",
	}
	headers := []string{"", " ", ",", "application/vnd.kubernetes.protobuf, */*", "application/json, */*", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"}
	for _, t := range types {
		for _, p := range params {
			headers = append(headers, t+p)
		}
	}
	for range 300 {
		var clauses []string
		for range 2 {
			clauses = append(clauses, types[random.Intn(len(types))]+params[random.Intn(len(params))])
		}
		headers = append(headers, strings.Join(clauses, []string{",", ", "}[random.Intn(2)]))
	}
	seen := sets.New[string]()
	for _, header := range headers {
		if seen.Has(header) {
			continue
		}
		seen.Insert(header)
		options, ok := negotiation.NegotiateMediaTypeOptions(header, accepted, negotiation.DefaultEndpointRestrictions)
		a := accept{Header: header}
		if ok {
			a.Type, a.Pretty = options.Accepted.MediaType, options.Pretty
		}
		all = append(all, a)
	}
	return all
}

func requests() (all []target) {
	resolver := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	base := "/apis/external.metrics.k8s.io/v1beta1"
	paths := []string{
		"/", "/apis", "/apis/", "/apis/external.metrics.k8s.io", base, base + "/", base + "/namespaces", base + "/namespaces/", base + "/namespaces/ns", base + "/namespaces/ns/",
		base + "/namespaces/ns/m", base + "/namespaces/ns/m/", base + "/namespaces/ns/m/x", base + "/namespaces/ns/m/x/y", base + "/namespaces/ns/m/x/y/z", base + "/m", base + "/m/x", base + "/namespaces/ns/status",
		base + "/namespaces/ns/finalize", base + "/watch", base + "/watch/m", base + "/watch/namespaces/ns/m", base + "/proxy/namespaces/ns/m", base + "/namespaces/ns/m?watch=true", base + "/namespaces/ns/m?watch=1",
		base + "/namespaces/ns/m?watch=false", base + "/namespaces/ns/m?watch=", base + "/namespaces/ns/m?watch", base + "/namespaces/ns/m?watch=yes", base + "/namespaces/ns/m?watch=0", base + "/namespaces/ns/m?labelSelector=a%3Db",
		base + "/namespaces/ns/m?fieldSelector=metadata.name%3Dq", base + "/namespaces/ns/m?limit=abc", base + "/namespaces/ns/m?limit=abc&watch=1", base + "/namespaces/a%20b/m%2Fx", base + "/namespaces//m", base + "//namespaces/ns/m",
		"//apis/external.metrics.k8s.io/v1beta1", "/api", "/api/v1", "/api/v1/pods", "/healthz", "/healthz/", "/version", "/openapi/v2", "/openapi/v3/apis/external.metrics.k8s.io/v1beta1", "/nope", "/apis/other/v1/things", "/apis/a/b/c/d",
		base + "/namespaces/ns/m?watch=TRUE", base + "/namespaces/ns/m?watch=t",
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			parsed, err := url.ParseRequestURI(path)
			if err != nil {
				log.Fatal(path, err)
			}
			info, err := resolver.NewRequestInfo(&http.Request{Method: method, URL: parsed})
			if err != nil {
				continue
			}
			all = append(all, target{method, path, info.IsResourceRequest, info.Verb, info.Path, info.APIGroup, info.APIVersion, info.Namespace, info.Resource, info.Name, info.Subresource})
		}
	}
	return all
}

func objects() (all []object) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1beta1.AddToScheme, apidiscoveryv2.AddToScheme, apidiscoveryv2beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			log.Fatal(err)
		}
	}
	unversioned := schema.GroupVersion{Version: "v1"}
	scheme.AddUnversionedTypes(unversioned, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	codecs := serializer.NewCodecFactory(scheme)
	cases := examples()
	names := make([]string, 0, len(cases))
	for name := range cases {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		o := object{Name: name}
		for _, info := range codecs.SupportedMediaTypes() {
			var out bytes.Buffer
			if err := info.Serializer.Encode(cases[name], &out); err != nil {
				log.Fatal(name, err)
			}
			switch info.MediaType {
			case "application/json":
				o.JSON = out.String()
			case "application/yaml":
				o.YAML = out.String()
			case "application/vnd.kubernetes.protobuf":
				o.Protobuf = base64.StdEncoding.EncodeToString(out.Bytes())
			}
		}
		all = append(all, o)
	}
	return all
}

func examples() map[string]runtime.Object {
	lists := schema.GroupVersionKind{Group: "external.metrics.k8s.io", Version: "v1beta1", Kind: "ExternalMetricValueList"}
	meta := metav1.TypeMeta{APIVersion: lists.GroupVersion().String(), Kind: lists.Kind}
	when := metav1.NewTime(time.Date(2026, 11, 21, 11, 49, 53, 700_000_000, time.UTC))
	window, zero := int64(60), int64(0)
	value := func(name string, set map[string]string, text string, window *int64) v1beta1.ExternalMetricValue {
		return v1beta1.ExternalMetricValue{MetricName: name, MetricLabels: set, Timestamp: when, WindowSeconds: window, Value: resource.MustParse(text)}
	}
	cases := map[string]runtime.Object{
		"list-empty": &v1beta1.ExternalMetricValueList{TypeMeta: meta, Items: []v1beta1.ExternalMetricValue{}},
		"list-one":   &v1beta1.ExternalMetricValueList{TypeMeta: meta, Items: []v1beta1.ExternalMetricValue{value("queue_demand", map[string]string{"queue": "generator", "kind": "redis-stream"}, "5", nil)}},
		"list-many": &v1beta1.ExternalMetricValueList{TypeMeta: meta, Items: []v1beta1.ExternalMetricValue{
			value("queue_demand", map[string]string{"queue": "a", "b": "é<&>", "a": ""}, "1500m", &window),
			value("queue_demand", map[string]string{}, "0", &zero),
			value("queue_demand", map[string]string{"queue": strings.Repeat("long", 60)}, "12345678901", nil),
		}},
	}
	for name, status := range statuses() {
		status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		cases["status-"+name] = &status
	}
	version := metav1.GroupVersionForDiscovery{GroupVersion: "external.metrics.k8s.io/v1beta1", Version: "v1beta1"}
	group := metav1.APIGroup{Name: lists.Group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version}
	list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{group}}
	cases["group-list"] = &list
	alone := group
	alone.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
	cases["group"] = &alone
	cases["resource-list"] = &metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: version.GroupVersion,
		APIResources: []metav1.APIResource{
			{Name: "queue_demand", SingularName: "", Namespaced: true, Kind: lists.Kind, Verbs: metav1.Verbs{"get"}},
			{Name: "queue_waiting", SingularName: "", Namespaced: true, Kind: lists.Kind, Verbs: metav1.Verbs{"get"}},
		},
	}
	kind := metav1.GroupVersionKind{Group: lists.Group, Version: lists.Version, Kind: lists.Kind}
	cases["discovery-v2"] = &apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"},
		Items: []apidiscoveryv2.APIGroupDiscovery{{
			ObjectMeta: metav1.ObjectMeta{Name: lists.Group},
			Versions: []apidiscoveryv2.APIVersionDiscovery{{
				Version: lists.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
				Resources: []apidiscoveryv2.APIResourceDiscovery{{Resource: "queue_demand", ResponseKind: &kind, Scope: apidiscoveryv2.ScopeNamespace, Verbs: []string{"get"}}},
			}},
		}},
	}
	cases["discovery-v2beta1"] = &apidiscoveryv2beta1.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2beta1"},
		Items: []apidiscoveryv2beta1.APIGroupDiscovery{{
			ObjectMeta: metav1.ObjectMeta{Name: lists.Group},
			Versions: []apidiscoveryv2beta1.APIVersionDiscovery{{
				Version: lists.Version, Freshness: apidiscoveryv2beta1.DiscoveryFreshnessCurrent,
				Resources: []apidiscoveryv2beta1.APIResourceDiscovery{{Resource: "queue_demand", ResponseKind: &kind, Scope: apidiscoveryv2beta1.ScopeNamespace, Verbs: []string{"get"}}},
			}},
		}},
	}
	return cases
}

func statuses() map[string]metav1.Status {
	metric := schema.GroupResource{Group: "external.metrics.k8s.io", Resource: "queue_demand"}
	return map[string]metav1.Status{
		"not-found":      apierrors.NewNotFound(metric, "x").Status(),
		"unavailable":    apierrors.NewServiceUnavailable("queue \"a\" was not read").Status(),
		"bad-request":    apierrors.NewBadRequest("unable to parse requirement: found '', expected: identifier").Status(),
		"unauthorized":   apierrors.NewUnauthorized("Unauthorized").Status(),
		"forbidden":      apierrors.NewForbidden(metric, "", fmt.Errorf("User %q cannot list resource %q", "x", "queue_demand")).Status(),
		"forbidden-path": apierrors.NewForbidden(schema.GroupResource{}, "", fmt.Errorf("User %q cannot get path %q", "x", "/apis")).Status(),
		"method":         apierrors.NewMethodNotSupported(metric, "watch").Status(),
		"timeout":        apierrors.NewTimeoutError("too slow", 1).Status(),
		"generic-404":    apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{}, "", "", 0, true).Status(),
		"generic-405":    apierrors.NewGenericServerResponse(405, "get", schema.GroupResource{}, "", "", 0, true).Status(),
	}
}
