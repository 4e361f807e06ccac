// Command load asks a server as the HPA controller does through the aggregation layer: a closed loop
// over a number of kept-alive TLS connections with a front-proxy certificate, each request with an
// Audit-ID of its own. It prints one JSON object of what it saw, and what the server's process spent.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

type result struct {
	Requests  int     `json:"requests"`
	Errors    int     `json:"errors"`
	FirstBad  string  `json:"first_bad,omitempty"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p999_ms"`
	Max       float64 `json:"max_ms"`
	CPU       float64 `json:"cpu_seconds_per_1000"`
	RSS       float64 `json:"rss_mib"`
	Bytes     int     `json:"body_bytes"`
}

type worker struct {
	latencies []time.Duration
	errors    int
	firstBad  string
	bodyBytes int
}

func main() {
	address := flag.String("address", "127.0.0.1:6443", "the server")
	ca := flag.String("ca", "", "CA of the serving certificate; empty: any")
	certificate := flag.String("cert", "", "front-proxy certificate")
	key := flag.String("key", "", "its key")
	connections := flag.Int("connections", 8, "how many")
	warm := flag.Duration("warm", time.Second, "time before the measurement")
	duration := flag.Duration("duration", 5*time.Second, "time of the measurement")
	target := flag.String("target", "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue_demand?labelSelector=queue%3Dqueue-%05d", "what to ask for; a verb for numbers is filled in")
	spread := flag.Int("spread", 1, "how many different numbers")
	accept := flag.String("accept", "application/vnd.kubernetes.protobuf, */*", "Accept")
	pid := flag.Int("pid", 0, "the server's process")
	flag.Parse()

	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: *ca == "", ServerName: "localhost"}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			log.Fatal(err)
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	workers := make([]*worker, *connections)
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	var start, end time.Time
	for i := range workers {
		workers[i] = &worker{}
		ready.Add(1)
		done.Add(1)
		go func(w *worker, number int) {
			defer done.Done()
			connection, err := tls.Dial("tcp", *address, config)
			if err != nil {
				log.Fatal(err)
			}
			defer connection.Close()
			reader := bufio.NewReaderSize(connection, 16<<10)
			count := number * *spread / *connections // all are asked for at any time, none by two at once
			request := func() error {
				count++
				name := strings.Replace(*target, "%05d", fmt.Sprintf("%05d", count%*spread), 1)
				return w.ask(connection, reader, name, *accept, *address, number, count)
			}
			for limit := time.Now().Add(*warm); time.Now().Before(limit); {
				if err := request(); err != nil {
					log.Fatal(err)
				}
			}
			ready.Done()
			<-begin
			for time.Now().Before(end) {
				sent := time.Now()
				if err := request(); err != nil {
					w.fail(err.Error())
					return
				}
				w.latencies = append(w.latencies, time.Since(sent))
			}
		}(workers[i], i)
	}
	ready.Wait()
	before := cpu(*pid)
	for _, w := range workers {
		w.errors, w.firstBad = 0, ""
	}
	start = time.Now()
	end = start.Add(*duration)
	close(begin)
	done.Wait()
	report(workers, time.Since(start), cpu(*pid)-before, *pid)
}

func (w *worker) fail(what string) {
	w.errors++
	if w.firstBad == "" {
		w.firstBad = what
	}
}

func (w *worker) ask(connection net.Conn, reader *bufio.Reader, target, accept, host string, number, count int) error {
	var request bytes.Buffer
	fmt.Fprintf(&request, "GET %s HTTP/1.1\r\nHost: %s\r\n", target, host)
	request.WriteString("User-Agent: kube-controller-manager/v1.34.4 (linux/amd64) kubernetes/0000000/system:serviceaccount:kube-system:horizontal-pod-autoscaler\r\n")
	fmt.Fprintf(&request, "Accept: %s\r\nAccept-Encoding: gzip\r\n", accept)
	fmt.Fprintf(&request, "Audit-Id: %08x-0000-4000-8000-%012x\r\n", number, count)
	request.WriteString("X-Forwarded-For: 10.0.0.7\r\nX-Forwarded-Host: 10.96.0.1:443\r\nX-Forwarded-Proto: https\r\n")
	request.WriteString("X-Forwarded-Uri: " + target + "\r\n")
	request.WriteString("X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id: JTI=7c2f3c3e-94a1-4d5a-9e43-0d3f6ecf5a10\r\n")
	request.WriteString("X-Remote-Group: system:serviceaccounts\r\nX-Remote-Group: system:serviceaccounts:kube-system\r\nX-Remote-Group: system:authenticated\r\n")
	request.WriteString("X-Remote-Uid: 3f0c9b4e-6a1f-4f6b-8f51-4b8a3a0c2a11\r\n")
	request.WriteString("X-Remote-User: system:serviceaccount:kube-system:horizontal-pod-autoscaler\r\n\r\n")
	if _, err := connection.Write(request.Bytes()); err != nil {
		return err
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || len(body) < 50 {
		w.fail(fmt.Sprintf("%d %.200s", response.StatusCode, body))
	}
	w.bodyBytes = len(body)
	return nil
}

func report(workers []*worker, took, spent time.Duration, pid int) {
	var all []time.Duration
	r := result{Seconds: took.Seconds()}
	for _, w := range workers {
		all = append(all, w.latencies...)
		r.Errors += w.errors
		r.Bytes = w.bodyBytes
		if r.FirstBad == "" {
			r.FirstBad = w.firstBad
		}
	}
	slices.Sort(all)
	r.Requests = len(all)
	r.PerSecond = float64(len(all)) / took.Seconds()
	at := func(share float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[min(len(all)-1, int(share*float64(len(all))))].Microseconds()) / 1000
	}
	r.P50, r.P99, r.P999, r.Max = at(0.5), at(0.99), at(0.999), at(1)
	if len(all) > 0 {
		r.CPU = spent.Seconds() * 1000 / float64(len(all))
	}
	r.RSS = rss(pid)
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

// cpu is what the process has spent in user and kernel mode (Linux: clock ticks of 10 ms).
func cpu(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func rss(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, _ := strconv.Atoi(strings.Fields(value)[0])
			return float64(kib) / 1024
		}
	}
	return 0
}
