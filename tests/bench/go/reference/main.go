// Command reference is the least server that one can build on sigs.k8s.io/custom-metrics-apiserver:
// its values lie in memory, authentication and authorisation are delegated as in every adapter that
// embeds it. It is what ours is compared with, so it has no fault of its own making: one map look-up a
// request.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
	"k8s.io/metrics/pkg/apis/external_metrics"

	"sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

const metric = "queue_demand"

type queues map[string]external_metrics.ExternalMetricValue

func (q queues) GetExternalMetric(_ context.Context, _ string, selector labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	if info.Metric != metric {
		return nil, provider.NewMetricNotFoundError(external_metrics.Resource("metrics"), info.Metric)
	}
	if name, exact := selector.RequiresExactMatch("queue"); exact {
		if value, known := q[name]; known {
			return &external_metrics.ExternalMetricValueList{Items: []external_metrics.ExternalMetricValue{value}}, nil
		}
	}
	list := &external_metrics.ExternalMetricValueList{}
	for _, value := range q {
		if selector.Matches(labels.Set(value.MetricLabels)) {
			list.Items = append(list.Items, value)
		}
	}
	return list, nil
}

func (q queues) ListAllExternalMetrics() []provider.ExternalMetricInfo {
	return []provider.ExternalMetricInfo{{Metric: metric}}
}

func main() {
	adapter := &cmd.AdapterBase{Name: "reference"}
	count := adapter.Flags().Int("queues", 100, "how many queues there are")
	adapter.Flags().AddGoFlagSet(flag.CommandLine)
	if err := adapter.Flags().Parse(os.Args); err != nil {
		klog.Fatal(err)
	}
	values := make(queues, *count)
	for i := range *count {
		name := fmt.Sprintf("queue-%05d", i)
		values[name] = external_metrics.ExternalMetricValue{
			MetricName:   metric,
			MetricLabels: map[string]string{"queue": name, "kind": "redis-stream"},
			Timestamp:    metav1.NewTime(time.Now()),
			Value:        *resource.NewQuantity(int64(i%7), resource.DecimalSI),
		}
	}
	adapter.WithExternalMetrics(values)
	if err := adapter.Run(context.Background()); err != nil {
		klog.Fatal(err)
	}
}
