//! The smallest measurement, as its user sees it: a table, a report, and an exit code.

use std::process::Command;

use serde_json::Value;

async fn can_run(test: &str) -> bool {
    envtest::programs_or_leave_out(test).unwrap()
        && envtest::control_plane_or_leave_out(test).await.unwrap()
}

fn count(row: &Value, method: &str, route: &str) -> u64 {
    let requests = row["requests"].as_array().unwrap();
    requests
        .iter()
        .filter(|r| r["method"] == method && r["route"] == route)
        .map(|r| r["count"].as_u64().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_app_is_measured_with_its_calls_by_route_and_all_else_that_it_costs() {
    if !can_run("one app is measured").await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // A folder that does not exist yet.
    let report = folder.path().join("bench/report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_envtest"))
        .args(["bench", "--apps", "1", "--scenario", "create,description"])
        .arg("--report")
        .arg(&report)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");

    let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert!(
        report["operatorBuild"]
            .as_str()
            .is_some_and(|b| !b.is_empty())
    );
    let rows = report["rows"].as_array().unwrap();
    let scenarios: Vec<&str> = rows
        .iter()
        .map(|row| row["scenario"].as_str().unwrap())
        .collect();
    assert_eq!(scenarios, ["create", "description"]);
    for row in rows {
        assert!(said.contains(row["scenario"].as_str().unwrap()), "{said}");
        assert_eq!(
            (&row["apps"], &row["variant"]),
            (&1.into(), &"usual".into())
        );
        assert_eq!(row["withinLimit"], true, "{row}");
        let all = row["requests"].as_array().unwrap();
        let sum: u64 = all.iter().map(|r| r["count"].as_u64().unwrap()).sum();
        assert_eq!(row["calls"].as_u64(), Some(sum), "a token needs no request");
        for positive in [
            "callsPerApp",
            "callsPerMinute",
            "serviceMinutes",
            "wallSeconds",
            "residentBytes",
            "limit",
        ] {
            assert!(row[positive].as_f64() > Some(0.0), "{positive}: {row}");
        }
        assert!(row["cpuSeconds"].as_f64().is_some(), "{row}");
        let status = &row["kubernetesWrites"]["databricksapps/status"];
        assert!(status.as_u64() > Some(0), "{row}");
    }
    let (create, description) = (&rows[0], &rows[1]);
    for (method, route) in [
        ("POST", "/api/2.0/apps"),
        ("POST", "/api/2.0/apps/{name}/deployments"),
        ("PUT", "/api/2.0/permissions/apps/{name}"),
    ] {
        assert_eq!(count(create, method, route), 1, "{method} {route}");
        assert_eq!(count(description, method, route), 0, "{method} {route}");
    }
    assert_eq!(count(description, "POST", "/api/2.0/apps/{name}/update"), 1);
}

#[test]
fn scenarios_and_variants_that_exclude_each_other_are_said_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_envtest"))
        .args(["bench", "--scenario", "guarded-grants"])
        .args(["--variant", "full-lists"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(complained.contains("nothing to measure"), "{complained}");
}
