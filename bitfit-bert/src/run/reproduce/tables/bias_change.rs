//! How far the biases of each kind and layer move: the paper's heat map, of every task.

use std::path::Path;

use bitfit_core::Backend;

use crate::artefacts::{Contents, HeatMap, HeatRow, heat_maps_svg};
use crate::model::Base;
use crate::run::Table;
use crate::run::save::TASK_FILE;
use crate::{Error, Result, TaskFile};

use super::super::files::glue_title;
use super::super::report::{Context, TableReport, or_dash};
use super::super::{Data, Description, EPOCHS, Length};

pub(in super::super) const DESCRIPTION: Description = Description {
    about: "the mean absolute change of the biases by kind and layer, by task",
    methods: &["bitfit"],
    data: Data::Glue,
    length: Length::Epochs(EPOCHS),
};

/// # Errors
/// Those of reading the task files of the runs, and [`Error::TaskFile`] for one that is gone.
pub(in super::super) fn report<D: Backend>(context: &Context<'_>, base: &Base<D>) -> Result<TableReport> {
    let maps = maps(context, base)?;
    let mut remarks = vec![
        "The change of a bias is the mean absolute difference of its values from those of the base model, as in the \
         paper; of the runs at the learning rate whose mean score on the development set is the best, the mean over the \
         seeds. The first table has the mean over the layers."
            .to_owned(),
        "The paper says that the key's bias hardly moves, and that two kinds, the query's and the one in the middle of \
         the feed-forward (intermediate), come close to all. The gradient of a key's bias is exactly zero, so here it \
         never moves. The values of the paper's heat map could not be verified."
            .into(),
    ];
    remarks.extend(context.remarks());
    Ok(TableReport {
        tables: vec![table(&maps), context.rates()],
        remarks,
        numbers: numbers(&maps),
        drawing: heat_maps_svg(&maps.iter().map(|(_, map)| map.clone()).collect::<Vec<_>>()),
    })
}

/// A map for each task and method of which a run came to its end, with the name of the two.
fn maps<D: Backend>(context: &Context<'_>, base: &Base<D>) -> Result<Vec<(String, HeatMap)>> {
    let findings = context.findings;
    let mut maps = Vec::new();
    for (task, of_task) in findings.tasks.iter().enumerate() {
        for (method, choice) in findings.methods.iter().enumerate() {
            let Some(runs) = findings.chosen(task, method) else { continue };
            let of_runs = runs.ended().map(|(directory, _)| map(directory, base)).collect::<Result<Vec<HeatMap>>>()?;
            let Some(mut mean) = mean_map(&of_runs) else { continue };
            let title = of_task.glue.map_or(of_task.name.as_str(), |glue| glue_title(glue));
            let seeds = if of_runs.len() == 1 { "one seed".into() } else { format!("{} seeds", of_runs.len()) };
            mean.title = format!("{title}, {choice}: mean absolute change by kind and layer, {seeds}");
            maps.push((if findings.methods.len() > 1 { format!("{title}, {choice}") } else { title.into() }, mean));
        }
    }
    Ok(maps)
}

/// The map of a run's task file.
fn map<D: Backend>(directory: &Path, base: &Base<D>) -> Result<HeatMap> {
    let path = directory.join(TASK_FILE);
    if !path.is_file() {
        let reason = format!(
            "it is not there, but the change is taken from it: remove the directory {} to make the run again",
            directory.display()
        );
        return Err(Error::TaskFile { path, reason });
    }
    let mut map = Contents::of(&TaskFile::read(&path)?, &path, Some(base))?.heat_map(String::new());
    map.rows.retain(|row| !row.label.ends_with(" weight"));
    Ok(map)
}

/// The mean of maps that have the same rows.
fn mean_map(maps: &[HeatMap]) -> Option<HeatMap> {
    let first = maps.first()?;
    let rows = first.rows.iter().enumerate().map(|(row, of_first)| {
        let mean = |layer: usize| {
            let values: Option<Vec<f64>> =
                maps.iter().map(|map| map.rows.get(row)?.cells.get(layer).copied()?).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        HeatRow { label: of_first.label.clone(), cells: (0..of_first.cells.len()).map(mean).collect() }
    });
    Some(HeatMap { title: String::new(), rows: rows.collect() })
}

/// The mean over the layers, kinds by tasks.
fn table(maps: &[(String, HeatMap)]) -> Table {
    let columns = std::iter::once("kind".to_owned()).chain(maps.iter().map(|(name, _)| name.clone())).collect();
    let mut kinds: Vec<&str> = Vec::new();
    for row in maps.iter().flat_map(|(_, map)| &map.rows) {
        if !kinds.contains(&row.label.as_str()) {
            kinds.push(&row.label);
        }
    }
    let row = |kind: &&str| {
        let cell = |(_, map): &(String, HeatMap)| {
            let row = map.rows.iter().find(|row| row.label == *kind)?;
            let values: Vec<f64> = row.cells.iter().flatten().copied().collect();
            (!values.is_empty()).then(|| format!("{:.1e}", values.iter().sum::<f64>() / values.len() as f64))
        };
        std::iter::once((*kind).to_owned()).chain(maps.iter().map(|map| or_dash(cell(map)))).collect()
    };
    Table { columns, rows: kinds.iter().map(row).collect() }
}

/// A row for each task, kind and layer.
fn numbers(maps: &[(String, HeatMap)]) -> Table {
    let columns = ["task", "kind", "layer", "mean_absolute_change"].map(str::to_owned).to_vec();
    let mut rows = Vec::new();
    for (name, map) in maps {
        for row in &map.rows {
            let cells = row.cells.iter().enumerate().filter_map(|(layer, cell)| Some((layer, (*cell)?)));
            rows.extend(
                cells.map(|(layer, value)| vec![name.clone(), row.label.clone(), layer.to_string(), value.to_string()]),
            );
        }
    }
    Table { columns, rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(cells: &[&[Option<f64>]]) -> HeatMap {
        let rows = ["query", "key"].iter().zip(cells);
        let rows = rows.map(|(label, cells)| HeatRow { label: (*label).into(), cells: cells.to_vec() });
        HeatMap { title: String::new(), rows: rows.collect() }
    }

    #[test]
    fn a_map_is_the_mean_over_the_seeds_and_a_table_that_over_the_layers() {
        let one = map(&[&[Some(0.25), Some(0.5)], &[Some(0.0), None]]);
        let other = map(&[&[Some(0.75), Some(1.0)], &[Some(0.0), None]]);
        let mean = mean_map(&[one, other]).unwrap();
        assert_eq!(mean, map(&[&[Some(0.5), Some(0.75)], &[Some(0.0), None]]));
        assert_eq!(mean_map(&[]), None);
        let maps = [("RTE".to_owned(), mean)];
        let shown = table(&maps);
        assert_eq!(shown.columns, ["kind", "RTE"]);
        assert_eq!(shown.rows, [["query", "6.2e-1"], ["key", "0.0e0"]]);
        assert_eq!(
            numbers(&maps).csv(),
            "task,kind,layer,mean_absolute_change\nRTE,query,0,0.5\nRTE,query,1,0.75\nRTE,key,0,0\n"
        );
    }
}
