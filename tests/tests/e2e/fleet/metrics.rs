//! What Prometheus reads of the services.

use crate::fleet::stack::Fleet;

const DOCUMENTED: &str = include_str!("../../../../docs/metrics.md");

#[tokio::test]
async fn each_service_has_the_documented_metrics() {
    let fleet = Fleet::start().await;
    let (_, documented) = DOCUMENTED.split_once("\n## The services\n").unwrap();
    let names: Vec<_> =
        documented.lines().filter_map(|line| line.strip_prefix("| `hsmd_SERVICE_")).collect();
    assert!(names.len() >= 3, "{documented}");
    let face = &fleet.face;
    for (service, http) in [("keys", &face.keys), ("auth", &face.auth[0]), ("app", &face.app)] {
        assert_eq!(http.get("/no-such-path").await.0, 404);
        let (status, text) = http.get("/metrics").await;
        let text = String::from_utf8(text).unwrap();
        assert_eq!(status, 200, "{text}");
        for line in &names {
            let (name, rest) = line.split_once("` | ").unwrap();
            let kind = rest.split([' ', ':']).next().unwrap();
            let family =
                format!("# TYPE hsmd_{service}_{} {kind}", name.trim_end_matches("_total"));
            assert!(text.lines().any(|line| line == family), "{family}: {text}");
        }
        assert!(text.contains(&format!("hsmd_{service}_ready 1")), "{text}");
        let unknown = "_http_requests_total{route=\"none\",code=\"404\"} 1";
        assert!(text.contains(&format!("hsmd_{service}{unknown}")), "{text}");
    }
}
